// Starts the kernel that a plan names. Tensors are dense, in the problem's layout.
#pragma once

#include "common/launch.h"
#include "cuda/pool/avg_pool_plan.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

void launch_avg_pool(const AvgPoolPlan& plan, const AvgPoolProblem& problem,
                     const AvgPoolTensors& tensors, cudaStream_t stream);

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
