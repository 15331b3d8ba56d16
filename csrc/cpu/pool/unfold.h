// Unfold and fold on the CPU.
#pragma once

#include "common/parallel.h"
#include "common/unfold_problem.h"

namespace cnnkern::cpu {

/// The result does not depend on `parallel`.
void run_unfold_cpu(const UnfoldProblem& problem, const UnfoldTensors& tensors,
                    const ParallelFor& parallel);

}  // namespace cnnkern::cpu
