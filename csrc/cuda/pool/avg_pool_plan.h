// Which average-pooling kernel runs, and on what grid. Pure host code: no CUDA, no tensors.
#pragma once

#include "common/avg_pool_problem.h"
#include "cuda/pool/pool_plan.h"

namespace cnnkern {

inline constexpr char global_avg_pool[] = "global_avg_pool";

/// How many warps the global kernel gives a plane of N C D H W.
int plane_warps(const AvgPoolProblem& problem);

PoolPlan plan_avg_pool(const AvgPoolProblem& problem, const DeviceCaps& device,
                       const std::string& forced = "");

std::vector<PoolKernelRow<AvgPoolDirection>> avg_pool_kernel_table();

}  // namespace cnnkern
