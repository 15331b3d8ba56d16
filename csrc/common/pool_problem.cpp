#include "common/pool_problem.h"

#include <stdexcept>
#include <string>

namespace cnnkern {

const char* to_string(PoolDirection direction) {
  switch (direction) {
    case PoolDirection::forward: return "forward";
    case PoolDirection::backward: return "backward";
    default: return "gather";
  }
}

void PoolProblem::set_output() {
  const auto fail = [](const std::string& message) {
    throw std::runtime_error("max_pool: " + message);
  };
  const auto text = [](int64_t value) { return std::to_string(value); };
  const bool line = spatial_dims == 1;  // torch has other words for it
  for (int axis = 3 - spatial_dims; axis < 3; ++axis) {
    if (window[axis] <= 0)
      fail((line ? "kernel_size must" : "kernel size should") +
           (" be greater than zero, but got " + text(window[axis])));
    if (stride[axis] <= 0)
      fail((line ? "stride must be greater than zero" : "stride should not be zero or negative") +
           (", but got " + text(stride[axis])));
    if (dilation[axis] <= 0)
      fail((line ? "dilation must" : "dilation should") +
           (" be greater than zero, but got " + text(dilation[axis])));
    if (pad[axis] < 0) fail("pad must be non-negative, but got pad: " + text(pad[axis]));
    constexpr int64_t limit = int64_t{1} << 40;
    if (window[axis] >= limit || stride[axis] >= limit || dilation[axis] >= limit / window[axis])
      fail("integer overflow: kernel size, stride and dilation must stay below 2^40");
    if (pad[axis] > footprint(axis) / 2)
      fail("pad should be at most half of effective kernel size, but got pad=" + text(pad[axis]) +
           ", kernel_size=" + text(window[axis]) + " and dilation=" + text(dilation[axis]));
  }
  int64_t taps = 1;  // stays small: a window has at most 2^40 along an axis
  for (int axis = 0; axis < 3 && taps <= max_offset_taps; ++axis) taps *= window[axis];
  if (indices == PoolIndices::offsets && taps > max_offset_taps)
    fail("an offset is one byte and numbers at most " + text(max_offset_taps) +
         " taps, the window has more; use positions");
  if (c == 0 || input.volume() == 0) {
    const std::string expected =
        spatial_dims == 3
            ? "Expected input's non-batch dimensions to have positive length"
            : "Expected " + text(spatial_dims + 1) + "D or " + text(spatial_dims + 2) +
                  "D (batch mode) tensor with optional 0 dim batch size for input";
    std::string sizes = text(n) + ", " + text(c);
    for (int axis = 3 - spatial_dims; axis < 3; ++axis) sizes += ", " + text(input[axis]);
    fail(expected + ", but got:[" + sizes + "]; channels and sizes must not be 0");
  }
  for (int axis = 0; axis < 3; ++axis) {
    const int64_t span = input[axis] + 2 * pad[axis] - footprint(axis);
    const int64_t round_up = ceil_mode ? stride[axis] - 1 : 0;
    const int64_t numerator = span + round_up;
    // Floor division, also for a window larger than the padded input.
    int64_t size = numerator / stride[axis] - (numerator % stride[axis] < 0 ? 1 : 0) + 1;
    if (ceil_mode && (size - 1) * stride[axis] >= input[axis] + pad[axis]) --size;
    if (size < 1)
      fail((line ? "Invalid computed output size: " + text(size) : "Output size is too small") +
           ": input has " + text(input[axis]) + " elements along axis " + text(axis) +
           ", the window covers " + text(footprint(axis)) + "; pad it or use a smaller window");
    output[axis] = size;
  }
}

}  // namespace cnnkern
