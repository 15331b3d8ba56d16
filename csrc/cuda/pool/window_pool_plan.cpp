#include "cuda/pool/window_pool_plan.h"

#include <algorithm>
#include <span>

namespace cnnkern {
namespace {

constexpr int window_pool_threads = 256;

std::string kernel_name(WindowPoolDirection direction) {
  if (direction == WindowPoolDirection::unpool) return "max_unpool";
  return std::string("window_max_pool_") + to_string(direction);
}

std::string symbol_of(WindowPoolDirection direction, DType dtype) {
  const char* type = dtype == DType::float32   ? "float"
                     : dtype == DType::float64 ? "double"
                     : dtype == DType::float16 ? "cnnkern::float16"
                                               : "cnnkern::bfloat16";
  return kernel_name(direction) + "<" + type + ">";
}

struct Candidate {
  std::string name;

  std::string refuse(const WindowPoolProblem& p, const DeviceCaps&) const {
    constexpr int64_t limit = int64_t{1} << 31;
    if (p.direction == WindowPoolDirection::unpool) {
      const int64_t plane = std::max(p.input.volume(), p.output.volume());
      if (plane < limit) return "";
      return "keeps positions in a plane in 32 bits, but a plane has " + std::to_string(plane) +
             " elements";
    }
    for (int axis = 0; axis < 3; ++axis) {
      const int64_t reach = p.input[axis] + p.output[axis];
      if (reach >= limit)
        return "keeps the coordinates of one axis in 32 bits, but input and output of one add up "
               "to " +
               std::to_string(reach);
      // Beyond it a fractional window's begin would be cut.
      if (p.fractional && p.input[axis] >= int64_t{1} << 30)
        return "finds fractional windows among 2^30 positions, but an axis has " +
               std::to_string(p.input[axis]);
    }
    return "";
  }
};

}  // namespace

WindowPoolPlan plan_window_pool(const WindowPoolProblem& problem, const DeviceCaps& device,
                                const std::string& forced) {
  require_floating_point(problem.dtype);
  const Candidate candidates[] = {{kernel_name(problem.direction)}};
  WindowPoolPlan plan;
  choose(std::span<const Candidate>(candidates), problem, device, forced, &plan.refusals);
  plan.kernel = kernel_name(problem.direction);
  plan.symbol = symbol_of(problem.direction, problem.dtype);
  plan.threads = window_pool_threads;
  int64_t threads = 0;
  if (problem.direction == WindowPoolDirection::unpool) {
    threads = problem.n * problem.c * 32;
    plan.why = "one warp for each of " + std::to_string(problem.n * problem.c) +
               " planes, in the order of their values; takes every shape";
  } else {
    threads = problem.direction == WindowPoolDirection::backward ? problem.input_elements()
                                                                 : problem.output_elements();
    plan.why = "one thread for each of " + std::to_string(threads) +
               " elements of the result; takes every shape";
  }
  plan.grid[0] = (threads + window_pool_threads - 1) / window_pool_threads;
  return plan;
}

std::vector<WindowPoolKernelInfo> window_pool_kernel_table() {
  std::vector<WindowPoolKernelInfo> table;
  for (const auto direction :
       {WindowPoolDirection::forward, WindowPoolDirection::backward, WindowPoolDirection::unpool})
    for (const DType dtype : {DType::float32, DType::float64, DType::float16, DType::bfloat16})
      table.push_back({kernel_name(direction), direction, dtype, window_pool_threads,
                       symbol_of(direction, dtype)});
  return table;
}

}  // namespace cnnkern
