#include "cuda/pool/avg_pool_plan.h"

#include <span>

namespace cnnkern {
namespace {

constexpr int avg_pool_threads = 256;

std::string kernel_name(AvgPoolDirection direction) {
  return std::string("avg_pool_") + to_string(direction);
}

std::string symbol_of(AvgPoolDirection direction, DType dtype) {
  const char* type = dtype == DType::float32   ? "float"
                     : dtype == DType::float64 ? "double"
                     : dtype == DType::float16 ? "cnnkern::float16"
                                               : "cnnkern::bfloat16";
  return kernel_name(direction) + "<" + type + ">";
}

struct Candidate {
  std::string name;

  std::string refuse(const AvgPoolProblem& p, const DeviceCaps&) const {
    for (int axis = 0; axis < 3; ++axis) {
      const int64_t reach = p.adaptive ? p.input[axis] + p.output[axis]
                                       : p.input[axis] + 2 * p.pad[axis] + p.footprint(axis) +
                                             p.stride[axis] + p.dilation[axis];
      if (reach >= int64_t{1} << 31)
        return "keeps the coordinates of one axis in 32 bits, but input, padding, window, stride "
               "and dilation, or input and output, of one add up to " +
               std::to_string(reach);
    }
    return "";
  }
};

}  // namespace

AvgPoolPlan plan_avg_pool(const AvgPoolProblem& problem, const DeviceCaps& device,
                          const std::string& forced) {
  require_floating_point(problem.dtype);
  const Candidate candidates[] = {{kernel_name(problem.direction)}};
  AvgPoolPlan plan;
  choose(std::span<const Candidate>(candidates), problem, device, forced, &plan.refusals);
  plan.kernel = kernel_name(problem.direction);
  plan.symbol = symbol_of(problem.direction, problem.dtype);
  plan.threads = avg_pool_threads;
  const int64_t elements = problem.direction == AvgPoolDirection::backward
                               ? problem.input_elements()
                               : problem.output_elements();
  plan.grid[0] = (elements + avg_pool_threads - 1) / avg_pool_threads;
  plan.why = "one thread for each of " + std::to_string(elements) +
             " elements of the result; takes every shape";
  return plan;
}

std::vector<AvgPoolKernelInfo> avg_pool_kernel_table() {
  std::vector<AvgPoolKernelInfo> table;
  for (const auto direction : {AvgPoolDirection::forward, AvgPoolDirection::backward})
    for (const DType dtype : {DType::float32, DType::float64, DType::float16, DType::bfloat16})
      table.push_back({kernel_name(direction), direction, dtype, avg_pool_threads,
                       symbol_of(direction, dtype)});
  return table;
}

}  // namespace cnnkern
