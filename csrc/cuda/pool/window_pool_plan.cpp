#include "cuda/pool/window_pool_plan.h"

#include <algorithm>

namespace cnnkern {
namespace {

std::string refuse_windows(const WindowPoolProblem& p) {
  for (int axis = 0; axis < 3; ++axis) {
    std::string reason = refuse_long_axis(p.input[axis] + p.output[axis], "input and output");
    if (!reason.empty()) return reason;
    // Beyond it a fractional window's begin would be cut.
    if (p.fractional && p.input[axis] >= int64_t{1} << 30)
      return "finds fractional windows among 2^30 positions, but an axis has " +
             std::to_string(p.input[axis]);
  }
  return "";
}

std::string refuse_nhwc(const WindowPoolProblem& p) {
  if (p.fractional) return "takes vectors of channels, but each has fractional windows of its own";
  const std::string reason = refuse_vectors(p, 2);
  return reason.empty() ? refuse_windows(p) : reason;
}

std::string refuse_planes(const WindowPoolProblem& p) {
  const int64_t plane = std::max(p.input.volume(), p.output.volume());
  if (plane < int64_t{1} << 31) return "";
  return "keeps positions in a plane in 32 bits, but a plane has " + std::to_string(plane) +
         " elements";
}

PoolWork work(const WindowPoolProblem& p, int vector) {
  return {vector, p.result_elements() / vector,
          pool_symbol(std::string("window_max_pool_") + to_string(p.direction), p.dtype,
                      ", " + std::to_string(vector)),
          thread_an_element(p.result_elements(), vector)};
}

PoolWork vectors(const WindowPoolProblem& p) { return work(p, 2); }  // 16 bytes of indices
PoolWork elements(const WindowPoolProblem& p) { return work(p, 1); }

PoolWork planes(const WindowPoolProblem& p) {
  return {1, p.n * p.c * 32, pool_symbol("max_unpool", p.dtype),
          "one warp for each of " + std::to_string(p.n * p.c) +
              " planes, in the order of their values; takes every shape"};
}

constexpr PoolKernel<WindowPoolProblem> kernels[] = {
    {"window_max_pool_forward_nhwc", WindowPoolDirection::forward, true, refuse_nhwc, vectors},
    {"window_max_pool_forward", WindowPoolDirection::forward, false, refuse_windows, elements},
    {"window_max_pool_backward_nhwc", WindowPoolDirection::backward, true, refuse_nhwc, vectors},
    {"window_max_pool_backward", WindowPoolDirection::backward, false, refuse_windows, elements},
    {"max_unpool", WindowPoolDirection::unpool, false, refuse_planes, planes},
};

}  // namespace

PoolPlan plan_window_pool(const WindowPoolProblem& problem, const DeviceCaps& device,
                          const std::string& forced) {
  require_floating_point(problem.dtype);
  return make_pool_plan<WindowPoolProblem>(kernels, problem, device, forced);
}

std::vector<PoolKernelRow<WindowPoolDirection>> window_pool_kernel_table() {
  return make_pool_table<WindowPoolProblem>(kernels);
}

}  // namespace cnnkern
