// The kernels behind the table in window_pool_cpu.cpp; all directions each.
#pragma once

#include "common/parallel.h"
#include "common/pool_problem.h"
#include "common/window_pool_problem.h"

namespace cnnkern::cpu {

/// What the kernels of max pooling need to know of a window pooling: all but its windows.
PoolProblem as_max_pool(const WindowPoolProblem& problem);

/// Throws for an index outside its plane in direction unpool.
void window_pool_planes(const WindowPoolProblem& problem, const WindowPoolTensors& tensors,
                        const ParallelFor& parallel);

}  // namespace cnnkern::cpu
