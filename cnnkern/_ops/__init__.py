"""The operators as PyTorch citizens: fake kernels, autograd, vmap and autocast rules.

Convolution, its input gradient and its weight gradient are each other's derivatives, so three
operators give derivatives of every order. In eager mode each module's wrappers, at its end, go
through an ``autograd.Function`` (``torch.func`` composes with it); while compiling they call the
registered operator itself (Dynamo traces it). Both follow the same rule, one class per operator;
``_library.py`` turns rules into functions and registrations.

A rule is ``fake``, ``setup`` (what to save), ``backward``, ``jvp`` and ``vmap``. Gradients and
tangents belong to the operator's tensors, in order; a tangent is None where nothing varies.
``flops``, where a rule has it, counts for torch's FlopCounterMode, given shapes for tensors.

``ops`` is an operator namespace: ``torch.ops.cnnkern``, or the emulator's.
"""

from __future__ import annotations

from cnnkern import _C as _C  # loading it defines the operators
from cnnkern import _compile_cache, _library
from cnnkern._ops import avg_pooling, convolution, max_pooling, window_pooling
from cnnkern._ops import unfold as _unfold
from cnnkern._ops.avg_pooling import adaptive_avg_pool_backward as adaptive_avg_pool_backward
from cnnkern._ops.avg_pooling import adaptive_avg_pool_forward as adaptive_avg_pool_forward
from cnnkern._ops.avg_pooling import avg_pool_backward as avg_pool_backward
from cnnkern._ops.avg_pooling import avg_pool_forward as avg_pool_forward
from cnnkern._ops.conv_bias_act import RULES as _CONV_BIAS_ACT_RULES
from cnnkern._ops.conv_bias_act import conv_bias_act as conv_bias_act
from cnnkern._ops.conv_bias_act import keeps_preactivation as keeps_preactivation
from cnnkern._ops.convolution import conv_bias_grad as conv_bias_grad
from cnnkern._ops.convolution import conv_forward as conv_forward
from cnnkern._ops.convolution import conv_input_grad as conv_input_grad
from cnnkern._ops.convolution import conv_weight_grad as conv_weight_grad
from cnnkern._ops.max_pooling import OFFSET_TAPS as OFFSET_TAPS
from cnnkern._ops.max_pooling import max_pool_backward as max_pool_backward
from cnnkern._ops.max_pooling import max_pool_forward as max_pool_forward
from cnnkern._ops.max_pooling import max_pool_gather as max_pool_gather
from cnnkern._ops.max_pooling import max_pool_offsets as max_pool_offsets
from cnnkern._ops.max_pooling import max_pool_saving as max_pool_saving
from cnnkern._ops.max_pooling import max_pool_values as max_pool_values
from cnnkern._ops.unfold import fold as fold
from cnnkern._ops.unfold import unfold as unfold
from cnnkern._ops.window_pooling import max_unpool_backward as max_unpool_backward
from cnnkern._ops.window_pooling import max_unpool_forward as max_unpool_forward
from cnnkern._ops.window_pooling import window_max_pool_backward as window_max_pool_backward
from cnnkern._ops.window_pooling import window_max_pool_forward as window_max_pool_forward
from cnnkern._ops.window_pooling import window_max_pool_gather as window_max_pool_gather

RULES = (
    *convolution.RULES,
    *_CONV_BIAS_ACT_RULES,
    *max_pooling.RULES,
    *avg_pooling.RULES,
    *_unfold.RULES,
    *window_pooling.RULES,
)
_library.register("cnnkern", RULES, cuda=_C.cuda_built)


def register_emulator() -> None:
    """Gives the emulator's operators (its library must be loaded) the same rules, once."""
    _library.register("cnnkern_emulator", RULES, cuda=False)


_compile_cache.name_sources()
