// Starts the kernel that a plan names. Tensors are dense, in the problem's layout.
#pragma once

#include "common/launch.h"
#include "cuda/pool/window_pool_plan.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

void launch_window_pool(const WindowPoolPlan& plan, const WindowPoolProblem& problem,
                        const WindowPoolTensors& tensors, cudaStream_t stream);

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
