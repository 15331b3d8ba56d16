"""torch.nn's convolution and pooling layers on cnnkern's kernels.

Each class is a subclass of torch's with the same constructor, parameters, ``state_dict`` and repr;
only the computation differs. The ``ConvBlock`` layers, which torch.nn has not, are Conv layers with
a residual and an activation in the same kernel.
"""

from cnnkern.nn.avg_pooling import AdaptiveAvgPool1d as AdaptiveAvgPool1d
from cnnkern.nn.avg_pooling import AdaptiveAvgPool2d as AdaptiveAvgPool2d
from cnnkern.nn.avg_pooling import AdaptiveAvgPool3d as AdaptiveAvgPool3d
from cnnkern.nn.avg_pooling import AvgPool1d as AvgPool1d
from cnnkern.nn.avg_pooling import AvgPool2d as AvgPool2d
from cnnkern.nn.avg_pooling import AvgPool3d as AvgPool3d
from cnnkern.nn.conv_bias_act import ConvBlock as ConvBlock
from cnnkern.nn.conv_bias_act import ConvBlock1d as ConvBlock1d
from cnnkern.nn.conv_bias_act import ConvBlock2d as ConvBlock2d
from cnnkern.nn.conv_bias_act import ConvBlock3d as ConvBlock3d
from cnnkern.nn.convolution import Conv1d as Conv1d
from cnnkern.nn.convolution import Conv2d as Conv2d
from cnnkern.nn.convolution import Conv3d as Conv3d
from cnnkern.nn.convolution import ConvTranspose1d as ConvTranspose1d
from cnnkern.nn.convolution import ConvTranspose2d as ConvTranspose2d
from cnnkern.nn.convolution import ConvTranspose3d as ConvTranspose3d
from cnnkern.nn.global_pooling import GlobalAvgPool1d as GlobalAvgPool1d
from cnnkern.nn.global_pooling import GlobalAvgPool2d as GlobalAvgPool2d
from cnnkern.nn.global_pooling import GlobalAvgPool3d as GlobalAvgPool3d
from cnnkern.nn.global_pooling import GlobalLPPool1d as GlobalLPPool1d
from cnnkern.nn.global_pooling import GlobalLPPool2d as GlobalLPPool2d
from cnnkern.nn.global_pooling import GlobalLPPool3d as GlobalLPPool3d
from cnnkern.nn.global_pooling import GlobalMaxPool1d as GlobalMaxPool1d
from cnnkern.nn.global_pooling import GlobalMaxPool2d as GlobalMaxPool2d
from cnnkern.nn.global_pooling import GlobalMaxPool3d as GlobalMaxPool3d
from cnnkern.nn.global_pooling import SpatialPyramidPool as SpatialPyramidPool
from cnnkern.nn.lazy import LazyConv1d as LazyConv1d
from cnnkern.nn.lazy import LazyConv2d as LazyConv2d
from cnnkern.nn.lazy import LazyConv3d as LazyConv3d
from cnnkern.nn.lazy import LazyConvTranspose1d as LazyConvTranspose1d
from cnnkern.nn.lazy import LazyConvTranspose2d as LazyConvTranspose2d
from cnnkern.nn.lazy import LazyConvTranspose3d as LazyConvTranspose3d
from cnnkern.nn.lp_pooling import LPPool1d as LPPool1d
from cnnkern.nn.lp_pooling import LPPool2d as LPPool2d
from cnnkern.nn.lp_pooling import LPPool3d as LPPool3d
from cnnkern.nn.max_pooling import MaxPool1d as MaxPool1d
from cnnkern.nn.max_pooling import MaxPool2d as MaxPool2d
from cnnkern.nn.max_pooling import MaxPool3d as MaxPool3d
from cnnkern.nn.unfold import Fold as Fold
from cnnkern.nn.unfold import Unfold as Unfold
from cnnkern.nn.weighted_pooling import WeightedAvgPool1d as WeightedAvgPool1d
from cnnkern.nn.weighted_pooling import WeightedAvgPool2d as WeightedAvgPool2d
from cnnkern.nn.weighted_pooling import WeightedAvgPool3d as WeightedAvgPool3d
from cnnkern.nn.window_pooling import AdaptiveMaxPool1d as AdaptiveMaxPool1d
from cnnkern.nn.window_pooling import AdaptiveMaxPool2d as AdaptiveMaxPool2d
from cnnkern.nn.window_pooling import AdaptiveMaxPool3d as AdaptiveMaxPool3d
from cnnkern.nn.window_pooling import FractionalMaxPool2d as FractionalMaxPool2d
from cnnkern.nn.window_pooling import FractionalMaxPool3d as FractionalMaxPool3d
from cnnkern.nn.window_pooling import MaxUnpool1d as MaxUnpool1d
from cnnkern.nn.window_pooling import MaxUnpool2d as MaxUnpool2d
from cnnkern.nn.window_pooling import MaxUnpool3d as MaxUnpool3d

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvBlock",
    "ConvBlock1d",
    "ConvBlock2d",
    "ConvBlock3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Fold",
    "FractionalMaxPool2d",
    "FractionalMaxPool3d",
    "GlobalAvgPool1d",
    "GlobalAvgPool2d",
    "GlobalAvgPool3d",
    "GlobalLPPool1d",
    "GlobalLPPool2d",
    "GlobalLPPool3d",
    "GlobalMaxPool1d",
    "GlobalMaxPool2d",
    "GlobalMaxPool3d",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "LazyConv1d",
    "LazyConv2d",
    "LazyConv3d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
    "LazyConvTranspose3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
    "SpatialPyramidPool",
    "Unfold",
    "WeightedAvgPool1d",
    "WeightedAvgPool2d",
    "WeightedAvgPool3d",
]
