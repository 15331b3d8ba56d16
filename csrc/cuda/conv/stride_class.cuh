// The classes into which a strided convolution's input pixels fall; dgrad.cu tells the idea.
#pragma once

#include <algorithm>
#include <numeric>

#include "common/conv_problem.h"
#include "common/fast_divmod.h"
#include "common/launch.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

/// What the classes of one axis have in common.
struct StrideAxis {
  int stride, dilation, pad, taps;
  int tap_step, output_step;
  FastDivmod few, many;  // a class has ⌊taps / tap_step⌋ or one more, or none

  explicit StrideAxis(int64_t stride_, int64_t dilation_, int64_t pad_, int64_t taps_)
      : stride(static_cast<int>(stride_)),
        dilation(static_cast<int>(dilation_)),
        pad(static_cast<int>(pad_)),
        taps(static_cast<int>(taps_)),
        tap_step(stride / std::gcd(stride, dilation)),
        output_step(dilation / std::gcd(stride, dilation)),
        few(taps < tap_step ? 1 : taps / tap_step),
        many((taps + tap_step - 1) / tap_step) {}
};

/// One class of one axis: pixels remainder, remainder + stride, …
struct AxisClass {
  int remainder, first_tap, taps, shift;

  __device__ __forceinline__ AxisClass(const StrideAxis& axis, int remainder_)
      : remainder(remainder_), first_tap(0), taps(0), shift(0) {
    const int end = min(axis.tap_step, axis.taps), distance = remainder + axis.pad;
    if (axis.stride == 1) {  // without a division
      taps = axis.taps, shift = distance;
      return;
    }
    while (first_tap < end && (distance - first_tap * axis.dilation) % axis.stride != 0)
      ++first_tap;
    if (first_tap == end) return;
    taps = (axis.taps - 1 - first_tap) / axis.tap_step + 1;
    shift = (distance - first_tap * axis.dilation) / axis.stride;
  }

  __device__ __forceinline__ FastDivmod divmod(const StrideAxis& axis) const {
    return static_cast<uint32_t>(taps) == axis.many.divisor ? axis.many : axis.few;
  }
};

inline StrideAxis stride_axis(const ConvProblem& p, int axis) {
  return StrideAxis(p.stride[axis], p.dilation[axis], p.pad_begin[axis], p.filter[axis]);
}

/// Classes along each axis.
inline Extent3 stride_classes(const ConvProblem& p) {
  Extent3 classes;
  for (int axis = 0; axis < 3; ++axis) classes[axis] = std::min(p.stride[axis], p.input[axis]);
  return classes;
}

/// Pixels along each axis of the largest class.
inline Extent3 pixels_of_a_class(const ConvProblem& p) {
  Extent3 pixels;
  for (int axis = 0; axis < 3; ++axis)
    pixels[axis] = (p.input[axis] + p.stride[axis] - 1) / p.stride[axis];
  return pixels;
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
