// What all pooling plans share: the plan, the rows of the kernel tables, and the one way from a
// family's list of kernels to both. Pure host code: no CUDA, no tensors.
#pragma once

#include <array>
#include <span>
#include <string>
#include <vector>

#include "common/device_caps.h"
#include "common/dtype.h"
#include "common/plan.h"

namespace cnnkern {

inline constexpr int pool_threads = 256;  // of every pooling kernel's block

inline int64_t pool_blocks(int64_t threads) { return (threads + pool_threads - 1) / pool_threads; }

struct PoolPlan {
  std::string kernel;  // "max_pool_forward"
  std::array<int64_t, 3> grid{0, 1, 1};
  int threads = 0;
  std::string symbol;  // substring of the demangled name in the compiler's records
  std::string why;
  std::vector<Refusal> refusals;
};

template <class Direction>
struct PoolKernelRow {
  std::string name;
  Direction direction;
  DType dtype;
  int threads;
  std::string symbol;
};

/// What a kernel starts for a problem.
struct PoolWork {
  int64_t threads = 0;
  std::string symbol, why;
};

/// A kernel of a family. In the family's list, those of a direction stand best first; the last one
/// takes every shape.
template <class Problem>
struct PoolKernel {
  const char* name;
  decltype(Problem::direction) direction;
  std::string (*refusal)(const Problem&);  // empty, or why it does not take a problem
  PoolWork (*work)(const Problem&);

  std::string refuse(const Problem& problem, const DeviceCaps&) const { return refusal(problem); }
};

/// "max_pool_forward<float>"
inline std::string pool_symbol(const std::string& function, DType dtype) {
  const char* type = dtype == DType::float32   ? "float"
                     : dtype == DType::float64 ? "double"
                     : dtype == DType::float16 ? "cnnkern::float16"
                                               : "cnnkern::bfloat16";
  return function + "<" + type + ">";
}

/// The sentence for an axis along which coordinates may be as large as `reach`, the sum of `parts`.
inline std::string refuse_long_axis(int64_t reach, const char* parts) {
  if (reach < int64_t{1} << 31) return "";
  return std::string("keeps the coordinates of one axis in 32 bits, but ") + parts +
         " of one add up to " + std::to_string(reach);
}

/// `forced`, if not empty, names the only kernel to ask.
template <class Problem>
PoolPlan make_pool_plan(std::span<const PoolKernel<Problem>> family, const Problem& problem,
                        const DeviceCaps& device, const std::string& forced) {
  require_floating_point(problem.dtype);
  std::vector<PoolKernel<Problem>> candidates;
  for (const PoolKernel<Problem>& kernel : family)
    if (kernel.direction == problem.direction) candidates.push_back(kernel);
  PoolPlan plan;
  const PoolKernel<Problem>& kernel = candidates[choose(
      std::span<const PoolKernel<Problem>>(candidates), problem, device, forced, &plan.refusals)];
  PoolWork work = kernel.work(problem);
  plan.kernel = kernel.name;
  plan.grid[0] = pool_blocks(work.threads);
  plan.threads = pool_threads;
  plan.symbol = std::move(work.symbol);
  plan.why = std::move(work.why);
  return plan;
}

template <class Problem>
auto make_pool_table(std::span<const PoolKernel<Problem>> family) {
  std::vector<PoolKernelRow<decltype(Problem::direction)>> table;
  for (const PoolKernel<Problem>& kernel : family)
    for (const DType dtype : {DType::float32, DType::float64, DType::float16, DType::bfloat16}) {
      Problem any;
      any.direction = kernel.direction, any.dtype = dtype;
      table.push_back(
          {kernel.name, kernel.direction, dtype, pool_threads, kernel.work(any).symbol});
    }
  return table;
}

}  // namespace cnnkern
