// What Winograd's fused kernel (winograd.cu) takes, and when it is modelled to be faster than the
// implicit GEMM on the FP32 units; and what it shares with winograd_4x4_plan.h. Pure host code, as
// conv_plan.h.
#pragma once

#include <string>

#include "cuda/conv/conv_plan.h"

namespace cnnkern {

/// Of a block: filters × patches of 4 × 4, channels a step; and the places of a patch.
inline constexpr Tile winograd_tile{64, 32, 8};
inline constexpr int winograd_places = 16, winograd_threads = 256;
inline constexpr int winograd_shared_bytes =
    4 * winograd_places * (winograd_tile.m + winograd_tile.n) * winograd_tile.k;

/// The convolution as the kernels see it: dgrad's input is the gradient of the output.
struct WinogradView {
  int64_t in_channels, out_channels;
  const Extent3 &in, &out;

  WinogradView(const ConvProblem& problem, bool forward);
  explicit WinogradView(const ConvProblem& problem);

  /// Patches that give so many outputs along each axis.
  int64_t patches(int64_t images, int64_t outputs) const;
};

/// Empty, or why no Winograd kernel takes this convolution.
std::string refuse_winograd_geometry(const ConvProblem& problem);

/// Empty, or why this device has something better than the FP32 units.
std::string yield_winograd_device(const DeviceCaps& device);

/// Cycles of one step of a block whose products and loads hide each other.
double step_cycles(double products, double loads_bytes);

/// Cycles that a multiprocessor is modelled to spend on the implicit GEMM of the FP32 units, with
/// the better of its tiles; and on winograd.cu.
double simt_cycles(const ConvProblem& problem, const DeviceCaps& device);
double winograd_cycles(const ConvProblem& problem, const DeviceCaps& device);

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
