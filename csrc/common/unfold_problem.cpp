#include "common/unfold_problem.h"

#include <stdexcept>
#include <string>

namespace cnnkern {

const char* to_string(UnfoldDirection direction) {
  return direction == UnfoldDirection::fold ? "fold" : "unfold";
}

void UnfoldProblem::check_arguments() const {
  const auto fail = [&](const char* what, const char* must, const Extent3& value) {
    throw std::runtime_error(std::string(to_string(direction)) + ": " + what + " should be " +
                             must + ", but got " + std::to_string(value.h) + " x " +
                             std::to_string(value.w));
  };
  if (kernel.h <= 0 || kernel.w <= 0) fail("kernel size", "greater than zero", kernel);
  if (dilation.h <= 0 || dilation.w <= 0) fail("dilation", "greater than zero", dilation);
  if (pad.h < 0 || pad.w < 0) fail("padding", "non-negative", pad);
  if (stride.h <= 0 || stride.w <= 0) fail("stride", "greater than zero", stride);
  constexpr int64_t limit = int64_t{1} << 29;  // padded coordinates then fit 31 bits
  for (const Extent3* value : {&image, &kernel, &dilation, &pad, &stride})
    if (value->h >= limit || value->w >= limit) fail("every size", "below 2^29", *value);
}

void UnfoldProblem::set_blocks() {
  for (int axis = 1; axis < 3; ++axis) {
    const int64_t span = image[axis] + 2 * pad[axis] - dilation[axis] * (kernel[axis] - 1) - 1;
    // Floor division, also for a window larger than the padded image.
    blocks[axis] = span / stride[axis] - (span % stride[axis] < 0 ? 1 : 0) + 1;
  }
}

}  // namespace cnnkern
