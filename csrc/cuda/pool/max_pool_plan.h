// Which max-pooling kernel runs, and on what grid. Pure host code: no CUDA, no tensors.
#pragma once

#include "common/pool_problem.h"
#include "cuda/pool/pool_plan.h"

namespace cnnkern {

PoolPlan plan_pool(const PoolProblem& problem, const DeviceCaps& device,
                   const std::string& forced = "");

std::vector<PoolKernelRow<PoolDirection>> pool_kernel_table();

}  // namespace cnnkern
