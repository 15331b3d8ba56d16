#include "cuda/pool/pool_plan.h"

#include <span>

namespace cnnkern {
namespace {

constexpr int pool_threads = 256;

std::string kernel_name(PoolDirection direction) {
  return std::string("max_pool_") + to_string(direction);
}

std::string symbol_of(PoolDirection direction, DType dtype) {
  const char* type = dtype == DType::float32   ? "float"
                     : dtype == DType::float64 ? "double"
                     : dtype == DType::float16 ? "cnnkern::float16"
                                               : "cnnkern::bfloat16";
  return kernel_name(direction) + "<" + type + ">";
}

struct Candidate {
  std::string name;
  PoolDirection direction;

  std::string refuse(const PoolProblem& p, const DeviceCaps&) const {
    for (int axis = 0; axis < 3; ++axis) {
      const int64_t reach =
          p.input[axis] + 2 * p.pad[axis] + p.footprint(axis) + p.stride[axis] + p.dilation[axis];
      if (reach >= int64_t{1} << 31)
        return "keeps the coordinates of one axis in 32 bits, but input, padding, window, stride "
               "and dilation of one add up to " +
               std::to_string(reach);
    }
    return "";
  }
};

constexpr PoolDirection directions[] = {PoolDirection::forward, PoolDirection::backward,
                                        PoolDirection::gather};

}  // namespace

PoolPlan plan_pool(const PoolProblem& problem, const DeviceCaps& device,
                   const std::string& forced) {
  require_floating_point(problem.dtype);
  const Candidate candidates[] = {{kernel_name(problem.direction), problem.direction}};
  PoolPlan plan;
  choose(std::span<const Candidate>(candidates), problem, device, forced, &plan.refusals);
  plan.kernel = kernel_name(problem.direction);
  plan.symbol = symbol_of(problem.direction, problem.dtype);
  plan.threads = pool_threads;
  const int64_t elements = problem.direction == PoolDirection::backward ? problem.input_elements()
                                                                        : problem.output_elements();
  plan.grid[0] = (elements + pool_threads - 1) / pool_threads;
  plan.why = "one thread for each of " + std::to_string(elements) +
             " elements of the result; takes every shape";
  return plan;
}

std::vector<PoolKernelInfo> pool_kernel_table() {
  std::vector<PoolKernelInfo> table;
  for (const PoolDirection direction : directions)
    for (const DType dtype : {DType::float32, DType::float64, DType::float16, DType::bfloat16})
      table.push_back(
          {kernel_name(direction), direction, dtype, pool_threads, symbol_of(direction, dtype)});
  return table;
}

}  // namespace cnnkern
