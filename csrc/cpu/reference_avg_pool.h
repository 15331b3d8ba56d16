// Average pooling's specification in code; see cpu/reference.h.
#pragma once

#include "common/avg_pool_problem.h"
#include "common/parallel.h"

namespace cnnkern::cpu {

/// Tap by tap, those outside the input left out; a window that counts no tap is divided by 1.
void reference_avg_pool(const AvgPoolProblem& problem, const AvgPoolTensors& tensors,
                        const ParallelFor& parallel);

}  // namespace cnnkern::cpu
