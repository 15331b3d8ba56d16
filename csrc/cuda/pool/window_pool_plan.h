// Which adaptive, fractional or unpooling kernel runs, and on what grid. Pure host code: no CUDA,
// no tensors.
#pragma once

#include "common/window_pool_problem.h"
#include "cuda/pool/pool_plan.h"

namespace cnnkern {

PoolPlan plan_window_pool(const WindowPoolProblem& problem, const DeviceCaps& device,
                          const std::string& forced = "");

std::vector<PoolKernelRow<WindowPoolDirection>> window_pool_kernel_table();

}  // namespace cnnkern
