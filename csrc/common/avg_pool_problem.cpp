#include "common/avg_pool_problem.h"

#include <stdexcept>
#include <string>

namespace cnnkern {

const char* to_string(AvgPoolDirection direction) {
  return direction == AvgPoolDirection::forward ? "forward" : "backward";
}

namespace {

[[noreturn]] void fail(const std::string& message) {
  throw std::runtime_error("avg_pool: " + message);
}

std::string text(int64_t value) { return std::to_string(value); }

}  // namespace

void AvgPoolProblem::check_windows() const {
  for (int axis = 3 - spatial_dims; axis < 3; ++axis) {
    if (window[axis] <= 0)
      fail("kernel size should be greater than zero, but got " + text(window[axis]));
    if (stride[axis] <= 0)
      fail("stride should be greater than zero, but got " + text(stride[axis]));
    if (dilation[axis] <= 0)
      fail("dilation should be greater than zero, but got " + text(dilation[axis]));
    if (pad[axis] < 0) fail("pad must be non-negative, but got pad: " + text(pad[axis]));
    constexpr int64_t limit = int64_t{1} << 40;
    if (window[axis] >= limit || stride[axis] >= limit || dilation[axis] >= limit / window[axis])
      fail("integer overflow: kernel size, stride and dilation must stay below 2^40");
    if (pad[axis] > footprint(axis) / 2)
      fail("pad should be at most half of effective kernel size, but got pad=" + text(pad[axis]) +
           ", kernel_size=" + text(window[axis]) + " and dilation=" + text(dilation[axis]));
  }
}

void AvgPoolProblem::set_output() {
  check_windows();
  for (int axis = 0; axis < 3; ++axis) {
    const int64_t span = input[axis] + 2 * pad[axis] - footprint(axis);
    const int64_t numerator = span + (ceil_mode ? stride[axis] - 1 : 0);
    // Floor division, also for a window larger than the padded input.
    int64_t size = numerator / stride[axis] - (numerator % stride[axis] < 0 ? 1 : 0) + 1;
    if (ceil_mode && (size - 1) * stride[axis] >= input[axis] + pad[axis]) --size;
    if (size < 1)
      fail("Output size is too small: input has " + text(input[axis]) + " elements along axis " +
           text(axis) + ", the window covers " + text(footprint(axis)) +
           "; pad it or use a smaller window");
    output[axis] = size;
  }
}

int64_t AvgPoolProblem::uniform_divisor() const {
  if (divisor != 0) return divisor;
  int64_t product = 1;
  for (int axis = 0; axis < 3; ++axis) {
    const int64_t count = output[axis] > 0 ? window_at(axis, 0).count : 1;
    for (int64_t o = 1; o < output[axis]; ++o)
      if (window_at(axis, o).count != count) return 0;
    product *= count;
  }
  return product;
}

}  // namespace cnnkern
