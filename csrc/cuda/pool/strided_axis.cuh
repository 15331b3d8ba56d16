// Strided windows along one axis, in 32 bits and without divisions: which taps of a window lie
// inside the input, and which windows lie over a position.
#pragma once

#include "common/fast_divmod.h"
#include "common/launch.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

// Coordinates along one axis fit 32 bits (the plans see to it); offsets in a tensor do not.
__device__ __forceinline__ int narrow(int64_t value) { return static_cast<int>(value); }

/// `taps` positions inside the input, the first of them `begin`, the window's tap number `first`.
struct Taps {
  int begin, taps, first;
};

/// The windows first, …, end − 1 of one axis.
struct Windows {
  int first, end;
};

struct StridedAxis {
  int size, windows, taps, dilation, pad, footprint;
  FastDivmod by_stride, by_dilation;

  /// Of a PoolProblem or an AvgPoolProblem.
  template <class Problem>
  StridedAxis(const Problem& p, int axis)
      : size(static_cast<int>(p.input[axis])),
        windows(static_cast<int>(p.output[axis])),
        taps(static_cast<int>(p.window[axis])),
        dilation(static_cast<int>(p.dilation[axis])),
        pad(static_cast<int>(p.pad[axis])),
        footprint(static_cast<int>(p.footprint(axis))),
        by_stride(p.stride[axis]),
        by_dilation(p.dilation[axis]) {}

  __device__ __forceinline__ int start_of(int64_t o) const {
    return narrow(o) * static_cast<int>(by_stride.divisor) - pad;
  }

  /// How many taps of a window that starts at `start` lie before `end`.
  __device__ __forceinline__ int taps_before(int start, int end) const {
    return start >= end ? 0 : min(taps, by_dilation.divide(end - start + dilation - 1));
  }

  /// The taps inside the input of a window that starts at `start`.
  __device__ __forceinline__ Taps taps_inside(int start) const {
    const int first = start >= 0 ? 0 : by_dilation.divide(-start + dilation - 1);
    return {start + first * dilation, max(taps_before(start, size) - first, 0), first};
  }

  /// All windows whose span covers i; with a dilation some have no tap just there.
  __device__ __forceinline__ Windows windows_over(int64_t i) const {
    const int reach = narrow(i) + pad, begin = reach - footprint + 1;
    const int stride = static_cast<int>(by_stride.divisor);
    return {begin <= 0 ? 0 : by_stride.divide(begin + stride - 1),
            min(windows, by_stride.divide(reach) + 1)};
  }

  /// Which tap of a window, whose span covers i, reads i; negative if i lies between two.
  __device__ __forceinline__ int tap_at(int64_t i, int window) const {
    int past;
    const int start = window * static_cast<int>(by_stride.divisor) - pad;
    const int tap = by_dilation.divmod(narrow(i) - start, past);
    return past == 0 ? tap : -1;
  }
};

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
