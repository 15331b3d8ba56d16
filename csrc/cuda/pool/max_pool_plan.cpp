#include "cuda/pool/max_pool_plan.h"

namespace cnnkern {
namespace {

std::string refuse_any(const PoolProblem& p) {
  for (int axis = 0; axis < 3; ++axis) {
    const int64_t reach =
        p.input[axis] + 2 * p.pad[axis] + p.footprint(axis) + p.stride[axis] + p.dilation[axis];
    std::string reason = refuse_long_axis(reach, "input, padding, window, stride and dilation");
    if (!reason.empty()) return reason;
  }
  return "";
}

PoolWork elements(const PoolProblem& p) {
  return {p.result_elements(),
          pool_symbol(std::string("max_pool_") + to_string(p.direction), p.dtype),
          "one thread for each of " + std::to_string(p.result_elements()) +
              " elements of the result; takes every shape"};
}

constexpr PoolKernel<PoolProblem> kernels[] = {
    {"max_pool_forward", PoolDirection::forward, refuse_any, elements},
    {"max_pool_backward", PoolDirection::backward, refuse_any, elements},
    {"max_pool_gather", PoolDirection::gather, refuse_any, elements},
};

}  // namespace

PoolPlan plan_pool(const PoolProblem& problem, const DeviceCaps& device,
                   const std::string& forced) {
  return make_pool_plan<PoolProblem>(kernels, problem, device, forced);
}

std::vector<PoolKernelRow<PoolDirection>> pool_kernel_table() {
  return make_pool_table<PoolProblem>(kernels);
}

}  // namespace cnnkern
