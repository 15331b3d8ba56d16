// What winograd.cu and winograd_filter.cu share.
#pragma once

#include "cuda/conv/conv_launch.h"
#include "cuda/conv/winograd_plan.h"
#include "cuda/indexing.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

/// Transforms the filters into tensors.workspace.
void launch_winograd_filter(const ConvProblem& problem, const ConvTensors& tensors,
                            cudaStream_t stream);

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
