// What all pooling plans share: the plan, the rows of the kernel tables, and the one way from a
// family's list of kernels to both. Pure host code: no CUDA, no tensors.
#pragma once

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <vector>

#include "common/conv_problem.h"
#include "common/device_caps.h"
#include "common/plan.h"

namespace cnnkern {

inline constexpr int pool_threads = 256;  // of every pooling kernel's block

inline int64_t pool_blocks(int64_t threads) { return (threads + pool_threads - 1) / pool_threads; }

struct PoolPlan {
  std::string kernel;  // "max_pool_forward"
  std::array<int64_t, 3> grid{0, 1, 1};
  int threads = 0;
  int vector = 1;      // neighbouring channels that a thread makes
  std::string symbol;  // substring of the demangled name in the compiler's records
  std::string why;
  std::vector<Refusal> refusals;
};

template <class Direction>
struct PoolKernelRow {
  std::string name;
  Direction direction;
  DType dtype;
  std::string layout;  // "nhwc" or "any"
  int threads;
  std::string symbol;
};

/// What a kernel starts for a problem.
struct PoolWork {
  int vector = 1;
  int64_t threads = 0;
  std::string symbol, why;
};

/// A kernel of a family. In the family's list, those of a direction stand best first; the last one
/// takes every shape.
template <class Problem>
struct PoolKernel {
  const char* name;
  decltype(Problem::direction) direction;
  bool only_nhwc;
  std::string (*refusal)(const Problem&);  // empty, or why it does not take a problem
  PoolWork (*work)(const Problem&);

  std::string refuse(const Problem& problem, const DeviceCaps&) const { return refusal(problem); }
};

/// "avg_pool_forward<float, 4>"; `more` are the template's arguments after the type.
inline std::string pool_symbol(const std::string& function, DType dtype,
                               const std::string& more = "") {
  const char* type = dtype == DType::float32   ? "float"
                     : dtype == DType::float64 ? "double"
                     : dtype == DType::float16 ? "cnnkern::float16"
                                               : "cnnkern::bfloat16";
  return function + "<" + type + more + ">";
}

/// The sentence for an axis along which coordinates may be as large as `reach`, the sum of `parts`.
inline std::string refuse_long_axis(int64_t reach, const char* parts) {
  if (reach < int64_t{1} << 31) return "";
  return std::string("keeps the coordinates of one axis in 32 bits, but ") + parts +
         " of one add up to " + std::to_string(reach);
}

/// The sentence for a kernel that takes vectors of so many channels.
template <class Problem>
std::string refuse_vectors(const Problem& p, int vector) {
  if (p.layout != Layout::nhwc) return "takes vectors of channels, but they lie apart in N C D H W";
  if (p.c % vector != 0)
    return "takes " + std::to_string(vector) +
           " channels at a time, but C = " + std::to_string(p.c) + " is no multiple of " +
           std::to_string(vector);
  const int64_t vectors = std::max(p.input_elements(), p.output_elements()) / vector;
  if (vectors < int64_t{1} << 31) return "";
  return "counts vectors in 32 bits, but a tensor has " + std::to_string(vectors);
}

/// What a kernel says that gives each element of the result, or each vector, a thread.
inline std::string thread_an_element(int64_t elements, int vector) {
  if (vector == 1)
    return "one thread for each of " + std::to_string(elements) +
           " elements of the result; takes every shape";
  return "one thread for each of " + std::to_string(elements / vector) + " vectors of " +
         std::to_string(vector) + " channels of the result";
}

/// `forced`, if not empty, names the only kernel to ask.
template <class Problem>
PoolPlan make_pool_plan(std::span<const PoolKernel<Problem>> family, const Problem& problem,
                        const DeviceCaps& device, const std::string& forced) {
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
  plan.vector = work.vector;
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
      table.push_back({kernel.name, kernel.direction, dtype, kernel.only_nhwc ? "nhwc" : "any",
                       pool_threads, kernel.work(any).symbol});
    }
  return table;
}

}  // namespace cnnkern
