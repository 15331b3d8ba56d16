#include "cuda/pool/avg_pool_plan.h"

namespace cnnkern {
namespace {

std::string refuse_any(const AvgPoolProblem& p) {
  for (int axis = 0; axis < 3; ++axis) {
    const int64_t reach = p.adaptive ? p.input[axis] + p.output[axis]
                                     : p.input[axis] + 2 * p.pad[axis] + p.footprint(axis) +
                                           p.stride[axis] + p.dilation[axis];
    std::string reason = refuse_long_axis(
        reach, p.adaptive ? "input and output" : "input, padding, window, stride and dilation");
    if (!reason.empty()) return reason;
  }
  return "";
}

PoolWork elements(const AvgPoolProblem& p) {
  return {p.result_elements(),
          pool_symbol(std::string("avg_pool_") + to_string(p.direction), p.dtype),
          "one thread for each of " + std::to_string(p.result_elements()) +
              " elements of the result; takes every shape"};
}

constexpr PoolKernel<AvgPoolProblem> kernels[] = {
    {"avg_pool_forward", AvgPoolDirection::forward, refuse_any, elements},
    {"avg_pool_backward", AvgPoolDirection::backward, refuse_any, elements},
};

}  // namespace

PoolPlan plan_avg_pool(const AvgPoolProblem& problem, const DeviceCaps& device,
                       const std::string& forced) {
  return make_pool_plan<AvgPoolProblem>(kernels, problem, device, forced);
}

std::vector<PoolKernelRow<AvgPoolDirection>> avg_pool_kernel_table() {
  return make_pool_table<AvgPoolProblem>(kernels);
}

}  // namespace cnnkern
