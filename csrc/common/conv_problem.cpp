#include "common/conv_problem.h"

#include <sstream>
#include <stdexcept>

namespace cnnkern {

const char* to_string(ConvDirection direction) {
  switch (direction) {
    case ConvDirection::fprop: return "fprop";
    case ConvDirection::dgrad: return "dgrad";
    default: return "wgrad";
  }
}

const char* to_string(Layout layout) { return layout == Layout::nchw ? "nchw" : "nhwc"; }

namespace {

// The last spatial_dims entries, as the user wrote them: "3 x 3".
std::string spatial(const ConvProblem& problem, const Extent3& extent) {
  std::ostringstream text;
  for (int axis = 3 - problem.spatial_dims; axis < 3; ++axis)
    text << extent[axis] << (axis < 2 ? " x " : "");
  return text.str();
}

[[noreturn]] void fail(const std::string& message) { throw std::runtime_error(message); }

}  // namespace

void ConvProblem::check_arguments() const {
  for (int axis = 0; axis < 3; ++axis) {
    if (pad_begin[axis] < 0 || pad_end[axis] < 0)
      fail("conv: negative padding is not supported: padding is " + spatial(*this, pad_begin) +
           "; crop the input instead");
    if (stride[axis] <= 0)
      fail("conv: non-positive stride is not supported: stride is " + spatial(*this, stride) +
           "; use 1 or more");
    if (dilation[axis] <= 0)
      fail("conv: dilation should be greater than zero: dilation is " + spatial(*this, dilation) +
           "; use 1 for a dense filter");
  }
  if (groups <= 0)
    fail("conv: non-positive groups is not supported: groups is " + std::to_string(groups) +
         "; use 1 or more");
}

void ConvProblem::set_output() {
  check_arguments();
  for (int axis = 0; axis < 3; ++axis) {
    if (filter[axis] <= 0)
      fail(
          "conv: weight should have at least one element along each spatial dimension: kernel is " +
          spatial(*this, filter));
    constexpr int64_t limit = int64_t{1} << 40;
    if (filter[axis] >= limit || dilation[axis] >= limit || pad_begin[axis] >= limit ||
        pad_end[axis] >= limit || stride[axis] >= limit || input[axis] >= limit ||
        (filter[axis] > 1 && dilation[axis] > limit / filter[axis]))
      fail(
          "conv: integer overflow: kernel size, dilation, stride and padding must stay below 2^40");
  }
  Extent3 padded;
  bool fits = true;
  for (int axis = 0; axis < 3; ++axis) {
    padded[axis] = input[axis] + pad_begin[axis] + pad_end[axis];
    fits = fits && padded[axis] >= footprint(axis);
    output[axis] = (padded[axis] - footprint(axis)) / stride[axis] + 1;
  }
  if (!fits) {
    Extent3 taps;
    for (int axis = 0; axis < 3; ++axis) taps[axis] = footprint(axis);
    fail("conv: Calculated padded input size per channel: (" + spatial(*this, padded) +
         "). Kernel size: (" + spatial(*this, taps) +
         "). Kernel size can't be greater than actual input size; pad the input or use a smaller "
         "kernel");
  }
}

void ConvProblem::validate() const {
  const auto text = [](int64_t value) { return std::to_string(value); };
  if (c % groups != 0 || k % groups != 0)
    fail("conv: expected channels to be divisible by groups: input has " + text(c) +
         " channels, weight makes " + text(k) + ", groups is " + text(groups));
  const auto bounded = [](std::initializer_list<int64_t> factors) {
    __int128 product = 1;
    for (const int64_t factor : factors) {
      product *= factor;
      if (product >= (__int128{1} << 62)) return false;
    }
    return true;
  };
  if (!bounded({n, c, input.d, input.h, input.w}) ||
      !bounded({n, k, output.d, output.h, output.w}) ||
      !bounded({k, c, filter.d, filter.h, filter.w}))
    fail(
        "conv: integer overflow: a tensor of this convolution would have 2^62 elements or more; "
        "use smaller sizes or less padding");
}

}  // namespace cnnkern
