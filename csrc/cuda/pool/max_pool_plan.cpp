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

// Channels that fill 16 bytes, or two, whose positions do.
int channels_of_a_vector(const PoolProblem& p) {
  return p.indices == PoolIndices::positions ? 2 : static_cast<int>(16 / size_of(p.dtype));
}

std::string refuse_nhwc(const PoolProblem& p) {
  if (std::string reason = refuse_vectors(p, channels_of_a_vector(p)); !reason.empty())
    return reason;
  const int64_t rows = (p.footprint(0) - 1) * p.input.h + p.footprint(1) - 1;
  const int64_t distance = rows * p.input.w + p.footprint(2) - 1 + p.dilation.w;
  if (p.direction == PoolDirection::forward && distance >= int64_t{1} << 31)
    return "keeps distances inside a window in 32 bits, but they reach " + std::to_string(distance);
  return refuse_any(p);
}

PoolWork work(const PoolProblem& p, int vector) {
  std::string more = ", (cnnkern::PoolIndices)" + std::to_string(static_cast<int>(p.indices));
  if (p.direction != PoolDirection::gather) more = ", " + std::to_string(vector) + more;
  return {vector, p.result_elements() / vector,
          pool_symbol(std::string("max_pool_") + to_string(p.direction), p.dtype, more),
          thread_an_element(p.result_elements(), vector)};
}

PoolWork vectors(const PoolProblem& p) { return work(p, channels_of_a_vector(p)); }
PoolWork elements(const PoolProblem& p) { return work(p, 1); }

constexpr PoolKernel<PoolProblem> kernels[] = {
    {"max_pool_forward_nhwc", PoolDirection::forward, true, refuse_nhwc, vectors},
    {"max_pool_forward", PoolDirection::forward, false, refuse_any, elements},
    {"max_pool_backward_nhwc", PoolDirection::backward, true, refuse_nhwc, vectors},
    {"max_pool_backward", PoolDirection::backward, false, refuse_any, elements},
    {"max_pool_gather", PoolDirection::gather, false, refuse_any, elements},
};

}  // namespace

PoolPlan plan_pool(const PoolProblem& problem, const DeviceCaps& device,
                   const std::string& forced) {
  require_floating_point(problem.dtype);
  return make_pool_plan<PoolProblem>(kernels, problem, device, forced);
}

std::vector<PoolKernelRow<PoolDirection>> pool_kernel_table() {
  return make_pool_table<PoolProblem>(kernels);
}

}  // namespace cnnkern
