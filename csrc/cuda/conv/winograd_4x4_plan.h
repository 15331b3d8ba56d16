// What Winograd's F(4×4, 3×3) (winograd_4x4.cu) takes, how its workspace is cut, and when it is
// modelled to be faster than what else there is. Pure host code, as conv_plan.h.
#pragma once

#include <array>
#include <string>

#include "cuda/conv/winograd_plan.h"

namespace cnnkern {

inline constexpr int winograd_4x4_places = 36;

/// The workspace: U from its beginning, then V and the products of a slice of the patches; in
/// bytes. What is left after U says how many patches a slice has.
struct Winograd4x4Workspace {
  int64_t patches, slice, v, products;

  Winograd4x4Workspace(const ConvProblem& problem, int64_t workspace_bytes);
};

/// The products of so many patches: a 1×1 convolution in 36 groups, of one image.
ConvProblem winograd_4x4_products(const ConvProblem& problem, int64_t patches);

/// Of the kernel that computes them.
std::array<int64_t, 3> winograd_4x4_grid(const ConvProblem& products, Tile tile);

/// Empty, or why winograd_4x4.cu does not take this convolution.
std::string refuse_winograd_4x4(const ConvProblem& problem, const DeviceCaps& device);

/// Empty, or why another kernel is modelled to be no slower; a model, not a measurement.
std::string yield_winograd_4x4(const ConvProblem& problem, const DeviceCaps& device);

/// A row of the table.
ConvKernelInfo winograd_4x4_kernel(ConvDirection direction, Layout layout);

/// Sets tile, grid, workspace and reason.
void plan_winograd_4x4(const ConvProblem& problem, const DeviceCaps& device, ConvPlan& plan);

}  // namespace cnnkern
