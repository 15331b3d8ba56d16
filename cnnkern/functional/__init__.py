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
from cnnkern.functional.adaptive_max_pooling import adaptive_max_pool1d as adaptive_max_pool1d
from cnnkern.functional.adaptive_max_pooling import adaptive_max_pool2d as adaptive_max_pool2d
from cnnkern.functional.adaptive_max_pooling import adaptive_max_pool3d as adaptive_max_pool3d
from cnnkern.functional.avg_pooling import adaptive_avg_pool1d as adaptive_avg_pool1d
from cnnkern.functional.avg_pooling import adaptive_avg_pool2d as adaptive_avg_pool2d
from cnnkern.functional.avg_pooling import adaptive_avg_pool3d as adaptive_avg_pool3d
from cnnkern.functional.avg_pooling import avg_pool1d as avg_pool1d
from cnnkern.functional.avg_pooling import avg_pool2d as avg_pool2d
from cnnkern.functional.avg_pooling import avg_pool3d as avg_pool3d
from cnnkern.functional.conv_bias_act import conv1d_bias_act as conv1d_bias_act
from cnnkern.functional.conv_bias_act import conv2d_bias_act as conv2d_bias_act
from cnnkern.functional.conv_bias_act import conv3d_bias_act as conv3d_bias_act
from cnnkern.functional.convolution import conv1d as conv1d
from cnnkern.functional.convolution import conv2d as conv2d
from cnnkern.functional.convolution import conv3d as conv3d
from cnnkern.functional.convolution import conv_transpose1d as conv_transpose1d
from cnnkern.functional.convolution import conv_transpose2d as conv_transpose2d
from cnnkern.functional.convolution import conv_transpose3d as conv_transpose3d
from cnnkern.functional.fractional_max_pooling import fractional_max_pool2d as fractional_max_pool2d
from cnnkern.functional.fractional_max_pooling import fractional_max_pool3d as fractional_max_pool3d
from cnnkern.functional.global_pooling import global_avg_pool1d as global_avg_pool1d
from cnnkern.functional.global_pooling import global_avg_pool2d as global_avg_pool2d
from cnnkern.functional.global_pooling import global_avg_pool3d as global_avg_pool3d
from cnnkern.functional.global_pooling import global_lp_pool1d as global_lp_pool1d
from cnnkern.functional.global_pooling import global_lp_pool2d as global_lp_pool2d
from cnnkern.functional.global_pooling import global_lp_pool3d as global_lp_pool3d
from cnnkern.functional.global_pooling import global_max_pool1d as global_max_pool1d
from cnnkern.functional.global_pooling import global_max_pool2d as global_max_pool2d
from cnnkern.functional.global_pooling import global_max_pool3d as global_max_pool3d
from cnnkern.functional.global_pooling import spatial_pyramid_pool as spatial_pyramid_pool
from cnnkern.functional.lp_pooling import lp_pool1d as lp_pool1d
from cnnkern.functional.lp_pooling import lp_pool2d as lp_pool2d
from cnnkern.functional.lp_pooling import lp_pool3d as lp_pool3d
from cnnkern.functional.max_pooling import max_pool1d as max_pool1d
from cnnkern.functional.max_pooling import max_pool2d as max_pool2d
from cnnkern.functional.max_pooling import max_pool3d as max_pool3d
from cnnkern.functional.max_unpooling import max_unpool1d as max_unpool1d
from cnnkern.functional.max_unpooling import max_unpool2d as max_unpool2d
from cnnkern.functional.max_unpooling import max_unpool3d as max_unpool3d
from cnnkern.functional.unfold import fold as fold
from cnnkern.functional.unfold import unfold as unfold
from cnnkern.functional.weighted_pooling import weighted_avg_pool1d as weighted_avg_pool1d
from cnnkern.functional.weighted_pooling import weighted_avg_pool2d as weighted_avg_pool2d
from cnnkern.functional.weighted_pooling import weighted_avg_pool3d as weighted_avg_pool3d

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "conv1d",
    "conv1d_bias_act",
    "conv2d",
    "conv2d_bias_act",
    "conv3d",
    "conv3d_bias_act",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "fold",
    "fractional_max_pool2d",
    "fractional_max_pool3d",
    "global_avg_pool1d",
    "global_avg_pool2d",
    "global_avg_pool3d",
    "global_lp_pool1d",
    "global_lp_pool2d",
    "global_lp_pool3d",
    "global_max_pool1d",
    "global_max_pool2d",
    "global_max_pool3d",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "spatial_pyramid_pool",
    "unfold",
    "weighted_avg_pool1d",
    "weighted_avg_pool2d",
    "weighted_avg_pool3d",
]

accept_arrays(__name__, __all__)
