// One struct describes every average pooling, 1-d to 3-d, with torch.nn's windows or adaptive ones.
//
//   output[n,c,z,p,q] = Σ over the window's taps inside the input / divisor
//
// Windows are products of one window per axis, and so are divisors, unless the caller gives one.
//   strided:  taps o·stride + t·dilation − pad for t < window; a window's divisor counts those taps
//             that lie inside the input, with count_include_pad those on its padding too (but not
//             those beyond it, where ceil_mode lets the last window reach).
//   adaptive: taps ⌊o·I/O⌋, …, ⌈(o + 1)·I/O⌉ − 1; all of them count.
// The backward direction is the transpose: every window gives its gradient / divisor to its taps.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/conv_problem.h"

namespace cnnkern {

/// forward: output from input; backward: grad input from grad output.
enum class AvgPoolDirection { forward, backward };

const char* to_string(AvgPoolDirection direction);

/// One window along one axis: `taps` positions from `begin` on, `dilation` apart, all of them
/// inside the input; `count` is the axis' factor of the divisor, at least 1.
struct AvgWindow {
  int64_t begin, taps, count;
};

/// The windows first, …, end − 1 of one axis.
struct WindowRange {
  int64_t first, end;
};

struct AvgPoolProblem {
  AvgPoolDirection direction = AvgPoolDirection::forward;
  DType dtype = DType::float32;
  Layout layout = Layout::nchw;
  int spatial_dims = 2;

  int64_t n = 1, c = 1;
  Extent3 input, output;
  bool adaptive = false;

  // Of strided windows only; set_output() sets `output`.
  Extent3 window, stride, dilation;
  Extent3 pad{0, 0, 0};
  bool ceil_mode = false, count_include_pad = true;
  int64_t divisor = 0;  // if not 0, instead of the counts

  int64_t input_elements() const { return n * c * input.volume(); }
  int64_t output_elements() const { return n * c * output.volume(); }
  int64_t result_elements() const {
    return direction == AvgPoolDirection::backward ? input_elements() : output_elements();
  }
  int64_t footprint(int axis) const { return (window[axis] - 1) * dilation[axis] + 1; }

  /// Sets Z, P, Q as torch does; with ceil_mode the last window must start inside the input or its
  /// left padding. Throws when a parameter is out of its range; so does check_windows() alone.
  void set_output();
  void check_windows() const;

  AvgWindow window_at(int axis, int64_t o) const {
    const int64_t size = input[axis];
    if (adaptive) {
      const int64_t begin = o * size / output[axis];
      const int64_t taps = ((o + 1) * size + output[axis] - 1) / output[axis] - begin;
      return {begin, taps, taps};
    }
    const int64_t start = o * stride[axis] - pad[axis], step = dilation[axis];
    const int64_t first = start >= 0 ? 0 : (-start + step - 1) / step;
    const int64_t end = taps_before(axis, start, size);
    const int64_t counted = taps_before(axis, start, size + pad[axis]);
    const int64_t inside = std::max<int64_t>(end - first, 0);
    return {start + first * step, inside,
            std::max<int64_t>(count_include_pad ? counted : inside, 1)};
  }

  /// All windows that have a tap at input position i; see covers().
  WindowRange windows_over(int axis, int64_t i) const {
    if (adaptive)
      return {i * output[axis] / input[axis],
              ((i + 1) * output[axis] + input[axis] - 1) / input[axis]};
    const int64_t reach = i + pad[axis], begin = reach - footprint(axis) + 1;
    return {begin <= 0 ? 0 : (begin + stride[axis] - 1) / stride[axis],
            std::min(output[axis], reach / stride[axis] + 1)};
  }

  /// Whether window o, one of windows_over(axis, i), has a tap just there, not beside it.
  bool covers(int axis, int64_t o, int64_t i) const {
    return adaptive || dilation[axis] == 1 ||
           (i + pad[axis] - o * stride[axis]) % dilation[axis] == 0;
  }

  /// The divisor of all windows, if it is the same for all, else 0.
  int64_t uniform_divisor() const;

  /// The divisor of a window whose axes count so much together.
  int64_t divisor_of(int64_t count) const { return divisor != 0 ? divisor : count; }

  bool operator==(const AvgPoolProblem&) const = default;

 private:
  // How many taps of a window that starts at `start` lie before `end`.
  int64_t taps_before(int axis, int64_t start, int64_t end) const {
    if (start >= end) return 0;
    return std::min(window[axis], (end - start + dilation[axis] - 1) / dilation[axis]);
  }
};

/// Dense tensors in the problem's layout; the direction says which one is written.
struct AvgPoolTensors {
  void* input = nullptr;
  void* output = nullptr;
};

}  // namespace cnnkern
