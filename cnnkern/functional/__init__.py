"""Convolution and pooling with ``torch.nn.functional``'s signatures, on cnnkern's kernels.

Where torch takes one padding per axis, these also take one per side: ``padding=((1, 2), (0, 1))``
pads the top by 1, the bottom by 2, the left by 0, the right by 1, without a copy.

NumPy and CuPy arrays are taken as well, and give arrays: all of the tensors, or none. They share
their memory with the tensors that are computed on; nothing is copied.

>>> import numpy
>>> conv2d(numpy.ones((1, 1, 3, 3)), numpy.ones((1, 1, 3, 3)))
array([[[[9.]]]])
"""

from cnnkern.functional._arrays import accept_arrays
from cnnkern.functional.convolution import conv1d as conv1d
from cnnkern.functional.convolution import conv2d as conv2d
from cnnkern.functional.convolution import conv3d as conv3d
from cnnkern.functional.convolution import conv_transpose1d as conv_transpose1d
from cnnkern.functional.convolution import conv_transpose2d as conv_transpose2d
from cnnkern.functional.convolution import conv_transpose3d as conv_transpose3d
from cnnkern.functional.max_pooling import max_pool1d as max_pool1d
from cnnkern.functional.max_pooling import max_pool2d as max_pool2d
from cnnkern.functional.max_pooling import max_pool3d as max_pool3d

__all__ = [
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]

accept_arrays(__name__, __all__)
