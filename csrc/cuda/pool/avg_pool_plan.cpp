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

// Channels that fill 16 bytes.
int channels_of_a_vector(const AvgPoolProblem& p) {
  return static_cast<int>(16 / size_of(p.dtype));
}

std::string refuse_nhwc(const AvgPoolProblem& p) {
  const std::string reason = refuse_vectors(p, channels_of_a_vector(p));
  return reason.empty() ? refuse_any(p) : reason;
}

std::string refuse_parts(const AvgPoolProblem& p) {
  for (int axis = 0; axis < 3; ++axis)
    if (p.output[axis] != 1 || p.window_at(axis, 0).taps != p.input[axis])
      return "takes the mean of whole planes, but not all pixels are in one window";
  if (p.input.volume() >= 32) return "";
  return "shares the pixels of a plane among threads, but a plane has only " +
         std::to_string(p.input.volume());
}

PoolWork work(const AvgPoolProblem& p, int vector) {
  return {vector, p.result_elements() / vector,
          pool_symbol(std::string("avg_pool_") + to_string(p.direction), p.dtype,
                      ", " + std::to_string(vector)),
          thread_an_element(p.result_elements(), vector)};
}

PoolWork vectors(const AvgPoolProblem& p) { return work(p, channels_of_a_vector(p)); }
PoolWork elements(const AvgPoolProblem& p) { return work(p, 1); }

PoolWork planes(const AvgPoolProblem& p) {
  if (p.layout == Layout::nchw) {
    const int warps = plane_warps(p);
    return {1, p.n * p.c * warps * 32,
            pool_symbol("global_avg_pool_nchw", p.dtype, ", " + std::to_string(warps)),
            (warps == 1 ? "one warp" : "one block") + std::string(" for each of ") +
                std::to_string(p.n * p.c) + " planes"};
  }
  const int wide = channels_of_a_vector(p), vector = p.c % wide == 0 ? wide : 1;
  const int64_t blocks = p.n * ((p.c / vector + 31) / 32);
  return {vector, blocks * pool_threads,
          pool_symbol("global_avg_pool_nhwc", p.dtype, ", " + std::to_string(vector)),
          "one block for 32 neighbouring vectors of " + std::to_string(vector) +
              " channels of an image"};
}

constexpr PoolKernel<AvgPoolProblem> kernels[] = {
    {global_avg_pool, AvgPoolDirection::forward, false, refuse_parts, planes},
    {"avg_pool_forward_nhwc", AvgPoolDirection::forward, true, refuse_nhwc, vectors},
    {"avg_pool_forward", AvgPoolDirection::forward, false, refuse_any, elements},
    {"avg_pool_backward_nhwc", AvgPoolDirection::backward, true, refuse_nhwc, vectors},
    {"avg_pool_backward", AvgPoolDirection::backward, false, refuse_any, elements},
};

}  // namespace

int plane_warps(const AvgPoolProblem& problem) {
  return problem.layout == Layout::nchw && problem.input.volume() >= 256 ? pool_threads / 32 : 1;
}

PoolPlan plan_avg_pool(const AvgPoolProblem& problem, const DeviceCaps& device,
                       const std::string& forced) {
  require_floating_point(problem.dtype);
  return make_pool_plan<AvgPoolProblem>(kernels, problem, device, forced);
}

std::vector<PoolKernelRow<AvgPoolDirection>> avg_pool_kernel_table() {
  return make_pool_table<AvgPoolProblem>(kernels);
}

}  // namespace cnnkern
