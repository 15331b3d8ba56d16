// One struct describes every pooling: window geometry as torch.nn's, 1-d to 3-d.
//
//   output[n,c,z,p,q] = max over the window's taps inside the input,
//   tap (t,r,s) of window (z,p,q) reads input (z·stride.d + t·dilation.d − pad.d, …h, …w).
// NaN wins; of equal values the first in row-major order wins; of NaNs the last, as in PyTorch.
#pragma once

#include <cstdint>

#include "common/conv_problem.h"

namespace cnnkern {

/// forward: output and indices from input; backward: grad input from grad output and indices;
/// gather: output from input at saved indices (the derivative of backward).
enum class PoolDirection { forward, backward, gather };

const char* to_string(PoolDirection direction);

/// What forward writes for each window beside its maximum, and the other directions read.
/// positions: int64, the input's flat position D·H·W within its plane, as
/// torch.nn.MaxPool2d(return_indices=True) gives; −1 for a window without a pixel.
/// offsets: one byte, the tap's number (t·R + r)·S + s within its window, and 255 for −1.
enum class PoolIndices { none, positions, offsets };

inline constexpr int64_t max_offset_taps = 255;  // of a window whose taps a byte can number

struct PoolProblem {
  PoolDirection direction = PoolDirection::forward;
  DType dtype = DType::float32;
  Layout layout = Layout::nchw;
  int spatial_dims = 2;

  int64_t n = 1, c = 1;
  Extent3 input, window, output, stride, dilation;
  Extent3 pad{0, 0, 0};
  bool ceil_mode = false;
  PoolIndices indices = PoolIndices::positions;

  int64_t input_elements() const { return n * c * input.volume(); }
  int64_t output_elements() const { return n * c * output.volume(); }
  int64_t result_elements() const {
    return direction == PoolDirection::backward ? input_elements() : output_elements();
  }
  int64_t footprint(int axis) const { return (window[axis] - 1) * dilation[axis] + 1; }

  /// Sets Z, P, Q as torch does; with ceil_mode the last window must start inside the input or its
  /// left padding. Throws when a parameter is out of its range, or the window too large for
  /// offsets.
  void set_output();

  bool operator==(const PoolProblem&) const = default;
};

/// Dense tensors in the problem's layout. Of the last two only the one that the problem's
/// PoolIndices ask for is not null.
struct PoolTensors {
  void* input = nullptr;
  void* output = nullptr;
  int64_t* indices = nullptr;
  uint8_t* offsets = nullptr;
};

}  // namespace cnnkern
