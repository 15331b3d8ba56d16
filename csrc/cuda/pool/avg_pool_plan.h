// Which average-pooling kernel runs, and on what grid. Pure host code: no CUDA, no tensors.
#pragma once

#include "common/avg_pool_problem.h"
#include "cuda/pool/pool_plan.h"

namespace cnnkern {

PoolPlan plan_avg_pool(const AvgPoolProblem& problem, const DeviceCaps& device,
                       const std::string& forced = "");

std::vector<PoolKernelRow<AvgPoolDirection>> avg_pool_kernel_table();

}  // namespace cnnkern
