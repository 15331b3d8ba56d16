"""cnnkern: hand-written convolution and pooling kernels behind torch.nn's own interface.

>>> layer = Conv2d(3, 8, kernel_size=3, padding=1)
>>> layer(torch.zeros(1, 3, 5, 5)).shape
torch.Size([1, 8, 5, 5])
"""

import torch as torch  # first: the compiled modules need its libraries

from cnnkern import functional as functional
from cnnkern import nn as nn
from cnnkern._explain import explain as explain
from cnnkern._explain import info as info
from cnnkern.autotuning import autotune as autotune
from cnnkern.backends import backend as backend
from cnnkern.convert import convert as convert
from cnnkern.convert import enabled as enabled
from cnnkern.convert import revert as revert
from cnnkern.nn import AdaptiveAvgPool1d as AdaptiveAvgPool1d
from cnnkern.nn import AdaptiveAvgPool2d as AdaptiveAvgPool2d
from cnnkern.nn import AdaptiveAvgPool3d as AdaptiveAvgPool3d
from cnnkern.nn import AdaptiveMaxPool1d as AdaptiveMaxPool1d
from cnnkern.nn import AdaptiveMaxPool2d as AdaptiveMaxPool2d
from cnnkern.nn import AdaptiveMaxPool3d as AdaptiveMaxPool3d
from cnnkern.nn import AvgPool1d as AvgPool1d
from cnnkern.nn import AvgPool2d as AvgPool2d
from cnnkern.nn import AvgPool3d as AvgPool3d
from cnnkern.nn import Conv1d as Conv1d
from cnnkern.nn import Conv2d as Conv2d
from cnnkern.nn import Conv3d as Conv3d
from cnnkern.nn import ConvBlock as ConvBlock
from cnnkern.nn import ConvBlock1d as ConvBlock1d
from cnnkern.nn import ConvBlock2d as ConvBlock2d
from cnnkern.nn import ConvBlock3d as ConvBlock3d
from cnnkern.nn import ConvTranspose1d as ConvTranspose1d
from cnnkern.nn import ConvTranspose2d as ConvTranspose2d
from cnnkern.nn import ConvTranspose3d as ConvTranspose3d
from cnnkern.nn import Fold as Fold
from cnnkern.nn import FractionalMaxPool2d as FractionalMaxPool2d
from cnnkern.nn import FractionalMaxPool3d as FractionalMaxPool3d
from cnnkern.nn import GlobalAvgPool1d as GlobalAvgPool1d
from cnnkern.nn import GlobalAvgPool2d as GlobalAvgPool2d
from cnnkern.nn import GlobalAvgPool3d as GlobalAvgPool3d
from cnnkern.nn import GlobalLPPool1d as GlobalLPPool1d
from cnnkern.nn import GlobalLPPool2d as GlobalLPPool2d
from cnnkern.nn import GlobalLPPool3d as GlobalLPPool3d
from cnnkern.nn import GlobalMaxPool1d as GlobalMaxPool1d
from cnnkern.nn import GlobalMaxPool2d as GlobalMaxPool2d
from cnnkern.nn import GlobalMaxPool3d as GlobalMaxPool3d
from cnnkern.nn import LazyConv1d as LazyConv1d
from cnnkern.nn import LazyConv2d as LazyConv2d
from cnnkern.nn import LazyConv3d as LazyConv3d
from cnnkern.nn import LazyConvTranspose1d as LazyConvTranspose1d
from cnnkern.nn import LazyConvTranspose2d as LazyConvTranspose2d
from cnnkern.nn import LazyConvTranspose3d as LazyConvTranspose3d
from cnnkern.nn import LPPool1d as LPPool1d
from cnnkern.nn import LPPool2d as LPPool2d
from cnnkern.nn import LPPool3d as LPPool3d
from cnnkern.nn import MaxPool1d as MaxPool1d
from cnnkern.nn import MaxPool2d as MaxPool2d
from cnnkern.nn import MaxPool3d as MaxPool3d
from cnnkern.nn import MaxUnpool1d as MaxUnpool1d
from cnnkern.nn import MaxUnpool2d as MaxUnpool2d
from cnnkern.nn import MaxUnpool3d as MaxUnpool3d
from cnnkern.nn import SpatialPyramidPool as SpatialPyramidPool
from cnnkern.nn import Unfold as Unfold
from cnnkern.nn import WeightedAvgPool1d as WeightedAvgPool1d
from cnnkern.nn import WeightedAvgPool2d as WeightedAvgPool2d
from cnnkern.nn import WeightedAvgPool3d as WeightedAvgPool3d
from cnnkern.optimize import optimize as optimize
from cnnkern.version import __version__ as __version__
