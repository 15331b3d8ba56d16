// Starts the kernel that a plan names. Tensors are dense, in the problem's layout; see the structs
// of tensors beside the problems. Pointers need only the alignment of an element: where vectors of
// channels would be misaligned, the kernel that takes single ones runs instead.
#pragma once

#include "common/launch.h"
#include "cuda/pool/avg_pool_plan.h"
#include "cuda/pool/max_pool_plan.h"
#include "cuda/pool/unfold_plan.h"
#include "cuda/pool/window_pool_plan.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

void launch_pool(const PoolPlan& plan, const PoolProblem& problem, const PoolTensors& tensors,
                 cudaStream_t stream);
void launch_avg_pool(const PoolPlan& plan, const AvgPoolProblem& problem,
                     const AvgPoolTensors& tensors, cudaStream_t stream);
/// For launch_avg_pool; `vectors` says whether tensors are aligned to 16 bytes and C fills them.
void launch_global_avg_pool(const AvgPoolProblem& problem, const AvgPoolTensors& tensors,
                            bool vectors, cudaStream_t stream);
void launch_window_pool(const PoolPlan& plan, const WindowPoolProblem& problem,
                        const WindowPoolTensors& tensors, cudaStream_t stream);
void launch_unfold(const PoolPlan& plan, const UnfoldProblem& problem, const UnfoldTensors& tensors,
                   cudaStream_t stream);

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
