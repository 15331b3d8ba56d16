// What Winograd's kernel (winograd.cu) takes, and when it is modelled to be faster than the
// implicit GEMM on the FP32 units. Pure host code, as conv_plan.h.
#pragma once

#include <string>

#include "cuda/conv/conv_plan.h"

namespace cnnkern {

/// Of a block: filters × patches of 4 × 4, channels a step; and the places of a patch.
inline constexpr Tile winograd_tile{64, 32, 8};
inline constexpr int winograd_places = 16, winograd_threads = 256;
inline constexpr int winograd_shared_bytes =
    4 * winograd_places * (winograd_tile.m + winograd_tile.n) * winograd_tile.k;

/// Of the transformed filters, filled up to whole tiles.
int64_t winograd_workspace_bytes(const ConvProblem& problem);

/// Empty, or why winograd.cu does not take this convolution.
std::string refuse_winograd(const ConvProblem& problem, const DeviceCaps& device);

/// Empty, or why the implicit GEMM is modelled to be no slower; a model, not a measurement.
std::string yield_winograd(const ConvProblem& problem, const DeviceCaps& device);

/// A row of the table.
ConvKernelInfo winograd_kernel(ConvDirection direction, Layout layout);

/// Sets the grid, the workspace and the reason.
void plan_winograd(const ConvProblem& problem, const DeviceCaps& device, ConvPlan& plan);

}  // namespace cnnkern
