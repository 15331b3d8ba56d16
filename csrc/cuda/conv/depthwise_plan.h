// Depthwise convolutions (one input channel a group, any number of filters a channel): how their
// kernels see a problem, which of them runs, and its launch. Pure host code, read by the plan and
// by the launchers alike.
#pragma once

#include <array>
#include <string>

#include "common/conv_problem.h"
#include "common/device_caps.h"

namespace cnnkern {

inline constexpr int depthwise_threads = 256;
inline constexpr int depthwise_wgrad_threads = 128;  // channels last: many sums a thread
inline constexpr int depthwise_strip = 4;            // pixels of the result that a thread makes
inline constexpr int max_stride_classes = 8;

/// One axis, seen from the result (fprop's output, dgrad's input), which is gathered from a source.
/// With a stride, a tap reaches an element of dgrad's result only if both agree modulo the stride,
/// so the result falls into classes of equal remainder; fprop has one class. The i-th coordinate of
/// a class and its j-th tap:
///   result first + i·result_step, source start + i·source_step + j·source_tap_step,
///   filter first_tap + j·tap_step
/// Taps are ordered so that the source runs upwards: a dgrad of stride 1 reads its filter
/// backwards.
struct DepthwiseAxis {
  struct Class {
    int first, count, start, first_tap, taps;
  };
  int result_step, source_step, tap_step, source_tap_step;
  int result_extent, source_extent, filter_extent, class_count;
  Class classes[max_stride_classes];

  DepthwiseAxis(const ConvProblem& problem, int axis);
};

/// A kernel and its launch.
struct DepthwiseShape {
  int vector = 1;  // elements of one access
  // The row of taps that the kernel unrolls: its length in channels last, the taps on each side of
  // the middle in N C D H W; 0: any. And the stride that it unrolls.
  int taps = 0, step = 0;
  // Channels last: a block's vectors of channels, strips of pixels, rows; powers of two. wgrad: its
  // vectors of channels, rows of taps (units) and parts of the pixels.
  int lanes = 1, strips = 1, rows = 1, units = 1, parts = 1;
  int64_t unit_groups = 1;
  std::array<int64_t, 3> grid{0, 1, 1};
  int threads = depthwise_threads;
  int64_t shared_bytes = 0;
  std::string symbol;
};

/// Why depthwise kernels with accesses of `vector` elements do not take the problem, or nothing.
std::string refuse_depthwise(const ConvProblem& problem, int vector);

/// Why a GEMM would be faster, for a problem that is not refused.
std::string yield_depthwise(const ConvProblem& problem);

/// For a problem that is not refused. wgrad's pixels are cut into `splits`.
DepthwiseShape depthwise_shape(const ConvProblem& problem, int vector, int splits);

/// Parts of wgrad's pixels whose sums a second kernel adds: enough for four blocks on every
/// multiprocessor, but not into trifles, and within the workspace.
int depthwise_splits(const ConvProblem& problem, int vector, const DeviceCaps& device);

}  // namespace cnnkern
