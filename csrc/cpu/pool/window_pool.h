// The kernels behind the table in window_pool_cpu.cpp; all directions each.
#pragma once

#include "common/parallel.h"
#include "common/window_pool_problem.h"

namespace cnnkern::cpu {

/// Throws for an index outside its plane in direction unpool.
void window_pool_planes(const WindowPoolProblem& problem, const WindowPoolTensors& tensors,
                        const ParallelFor& parallel);

}  // namespace cnnkern::cpu
