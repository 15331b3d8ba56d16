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
from cnnkern.backends import backend as backend
from cnnkern.convert import convert as convert
from cnnkern.convert import enabled as enabled
from cnnkern.convert import revert as revert
from cnnkern.nn import Conv1d as Conv1d
from cnnkern.nn import Conv2d as Conv2d
from cnnkern.nn import Conv3d as Conv3d
from cnnkern.nn import ConvTranspose1d as ConvTranspose1d
from cnnkern.nn import ConvTranspose2d as ConvTranspose2d
from cnnkern.nn import ConvTranspose3d as ConvTranspose3d
from cnnkern.nn import Fold as Fold
from cnnkern.nn import LazyConv1d as LazyConv1d
from cnnkern.nn import LazyConv2d as LazyConv2d
from cnnkern.nn import LazyConv3d as LazyConv3d
from cnnkern.nn import LazyConvTranspose1d as LazyConvTranspose1d
from cnnkern.nn import LazyConvTranspose2d as LazyConvTranspose2d
from cnnkern.nn import LazyConvTranspose3d as LazyConvTranspose3d
from cnnkern.nn import MaxPool1d as MaxPool1d
from cnnkern.nn import MaxPool2d as MaxPool2d
from cnnkern.nn import MaxPool3d as MaxPool3d
from cnnkern.nn import Unfold as Unfold
from cnnkern.version import __version__ as __version__
