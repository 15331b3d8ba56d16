// On what grid unfold and fold run. Pure host code: no CUDA, no tensors.
#pragma once

#include "common/unfold_problem.h"
#include "cuda/pool/pool_plan.h"

namespace cnnkern {

/// im2col or col2im, one thread a part of the result; throws the reason where it cannot run.
PoolPlan plan_unfold(const UnfoldProblem& problem, const DeviceCaps& device,
                     const std::string& forced = "");

std::vector<PoolKernelRow<UnfoldDirection>> unfold_kernel_table();

}  // namespace cnnkern
