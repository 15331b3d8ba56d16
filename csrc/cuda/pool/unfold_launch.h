// Starts the kernel that a plan of unfold_plan.h names. Tensors are dense; see UnfoldProblem.
#pragma once

#include "common/launch.h"
#include "cuda/pool/unfold_plan.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

void launch_unfold(const PoolPlan& plan, const UnfoldProblem& problem, const UnfoldTensors& tensors,
                   cudaStream_t stream);

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
