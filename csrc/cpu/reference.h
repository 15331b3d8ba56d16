// The specification in code: plain loops, every dtype, layout, dimension and parameter.
//
// Every other kernel is compared with these. Sums are kept in float (double for float64), in the
// order the loops give, and rounded once when they are stored; those of integers wrap around.
#pragma once

#include "common/conv_problem.h"
#include "common/parallel.h"
#include "common/pool_problem.h"

namespace cnnkern::cpu {

void reference_conv(const ConvProblem& problem, const ConvTensors& tensors,
                    const ParallelFor& parallel);

/// grad_bias[k] = Σ over n, z, p, q of tensors.output (the gradient of the output).
void reference_bias_grad(const ConvProblem& problem, const ConvTensors& tensors, void* grad_bias);

/// Max pooling. A window without a tap inside the input gives −inf (of integers
/// the least) and the index −1. backward sums,
/// for each input element, the gradients of the windows whose index or offset names it; others add
/// nothing. gather gives 0 where the index is outside the plane.
void reference_pool(const PoolProblem& problem, const PoolTensors& tensors,
                    const ParallelFor& parallel);

}  // namespace cnnkern::cpu
