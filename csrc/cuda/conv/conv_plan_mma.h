// What the tensor-core kernels cannot take, and how fast they are modelled to be. Pure host code,
// as conv_plan.h.
#pragma once

#include <string>

#include "common/conv_problem.h"
#include "common/device_caps.h"
#include "cuda/conv/tile.h"

namespace cnnkern {

/// Taps that tap_walk.cuh can go through at a time: a bit each.
constexpr int max_walk_taps = 32;

/// Empty, or why tap_walk.cuh cannot go through this convolution.
std::string refuse_tap_walk(const ConvProblem& problem, Tile tile, const DeviceCaps& device);

/// Empty, or why first_layer.cu or first_layer_wgrad.cu does not take this convolution.
std::string refuse_first_layer(const ConvProblem& problem, const DeviceCaps& device);

/// Empty, or why wgrad_mma_loader.cuh cannot move a window along the output's pixels.
std::string refuse_window_steps(const ConvProblem& problem, const DeviceCaps& device);

/// Whether tensor cores multiply its float32 as the sum of two tf32, which makes three products.
bool splits_float32(const ConvProblem& problem);

/// Empty, or why tensor cores would not be faster than other kernels, whatever the sizes.
std::string yield_tensor_cores(const ConvProblem& problem, const DeviceCaps& device);

/// Multiply-adds of a multiprocessor in one cycle, sums in float; tensor cores round float32 to
/// tf32. For float64 the faster of the two ways, which is what its kernels take.
double multiply_adds_per_cycle(DType dtype, int arch, bool tensor_cores);

/// The same of tensor cores for this problem, whose float32 may be split.
double tensor_core_rate(const ConvProblem& problem, int arch);

/// Cycles that a multiprocessor is modelled to spend on its share of the blocks of this tile; a
/// model, not a measurement. Blocks share its tensor cores and its way to L2, and those that are
/// there together hide each other's beginning and end.
double mma_cycles(Tile tile, const ConvProblem& problem, const DeviceCaps& device);

/// The same for the tile that takes fewest.
double fewest_mma_cycles(const ConvProblem& problem, const DeviceCaps& device);

}  // namespace cnnkern
