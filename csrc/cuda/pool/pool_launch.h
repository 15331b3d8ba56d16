// Starts the kernel that a plan names. Tensors are dense, in the problem's layout; see PoolTensors.
#pragma once

#include "common/launch.h"
#include "cuda/pool/pool_plan.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

void launch_pool(const PoolPlan& plan, const PoolProblem& problem, const PoolTensors& tensors,
                 cudaStream_t stream);

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
