// The specification in code of adaptive and fractional max pooling and of unpooling.
#pragma once

#include "common/parallel.h"
#include "common/window_pool_problem.h"

namespace cnnkern::cpu {

/// Tap by tap. unpool leaves out what lies outside the plane.
void reference_window_pool(const WindowPoolProblem& problem, const WindowPoolTensors& tensors,
                           const ParallelFor& parallel);

}  // namespace cnnkern::cpu
