"""torch.nn's convolution and pooling layers on cnnkern's kernels.

Each class is a subclass of torch's with the same constructor, parameters, ``state_dict`` and repr;
only the computation differs.
"""

from cnnkern.nn.convolution import Conv1d as Conv1d
from cnnkern.nn.convolution import Conv2d as Conv2d
from cnnkern.nn.convolution import Conv3d as Conv3d
from cnnkern.nn.convolution import ConvTranspose1d as ConvTranspose1d
from cnnkern.nn.convolution import ConvTranspose2d as ConvTranspose2d
from cnnkern.nn.convolution import ConvTranspose3d as ConvTranspose3d
from cnnkern.nn.lazy import LazyConv1d as LazyConv1d
from cnnkern.nn.lazy import LazyConv2d as LazyConv2d
from cnnkern.nn.lazy import LazyConv3d as LazyConv3d
from cnnkern.nn.lazy import LazyConvTranspose1d as LazyConvTranspose1d
from cnnkern.nn.lazy import LazyConvTranspose2d as LazyConvTranspose2d
from cnnkern.nn.lazy import LazyConvTranspose3d as LazyConvTranspose3d
from cnnkern.nn.max_pooling import MaxPool1d as MaxPool1d
from cnnkern.nn.max_pooling import MaxPool2d as MaxPool2d
from cnnkern.nn.max_pooling import MaxPool3d as MaxPool3d
from cnnkern.nn.unfold import Fold as Fold
from cnnkern.nn.unfold import Unfold as Unfold

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Fold",
    "LazyConv1d",
    "LazyConv2d",
    "LazyConv3d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
    "LazyConvTranspose3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "Unfold",
]
