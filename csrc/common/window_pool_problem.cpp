#include "common/window_pool_problem.h"

#include <stdexcept>
#include <string>

namespace cnnkern {

const char* to_string(WindowPoolDirection direction) {
  switch (direction) {
    case WindowPoolDirection::forward: return "forward";
    case WindowPoolDirection::backward: return "backward";
    default: return "unpool";
  }
}

void WindowPoolProblem::check_windows() const {
  const auto fail = [](const std::string& message) { throw std::runtime_error(message); };
  if (direction == WindowPoolDirection::unpool) return;
  const char* const op = fractional ? "fractional_max_pool: " : "adaptive_max_pool: ";
  if (c == 0 || input.volume() == 0)
    fail(std::string(op) + "Expected input to have non-zero size for non-batch dimensions");
  for (int axis = 3 - spatial_dims; axis < 3; ++axis) {
    if (output[axis] < 0)
      fail(std::string(op) + "Trying to create tensor with negative dimension " +
           std::to_string(output[axis]) + ": elements of output_size must be 0 or more");
    if (!fractional) continue;
    if (window[axis] <= 0)
      fail(std::string(op) + "kernel size should be greater than zero, but got " +
           std::to_string(window[axis]));
    const char* const names[3] = {"time", "height", "width"};
    const std::string name = names[axis];
    // In 3-d torch wants one element more.
    if (output[axis] + window[axis] - 1 > input[axis] - (spatial_dims == 3 ? 1 : 0))
      fail(std::string(op) + "pool " + name + " " + std::to_string(window[axis]) +
           " too large relative to input " + name + " " + std::to_string(input[axis]) +
           ": output_size + kernel_size - 1 must be at most that, in 3-d less");
  }
}

}  // namespace cnnkern
