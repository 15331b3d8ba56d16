#include "cpu/pool/window_pool_cpu.h"

#include "cpu/pool/max_pool.h"
#include "cpu/pool/window_pool.h"
#include "cpu/reference_window_pool.h"

namespace cnnkern::cpu {
namespace {

std::string refuse_simd(const WindowPoolProblem& problem, const Isa&) {
  if (problem.direction != WindowPoolDirection::forward)
    return "it computes the forward direction only";
  if (problem.fractional) return "each plane has windows of its own";
  if (problem.input.volume() >= int64_t{1} << 31)
    return "a plane has 2^31 elements or more, too many for a 32-bit position";
  return {};
}

void run_simd(const WindowPoolProblem& problem, const WindowPoolTensors& tensors, Isa isa,
              const ParallelFor& parallel) {
  const PoolProblem pool = as_max_pool(problem);
  const PoolTensors with = {tensors.input, tensors.output, tensors.indices};
#if defined(__x86_64__)
  if (isa == Isa::avx512) return avx512::adaptive_max_pool_forward(pool, with, parallel);
  if (isa == Isa::avx2) return avx2::adaptive_max_pool_forward(pool, with, parallel);
#endif
  (void)isa;
  scalar::adaptive_max_pool_forward(pool, with, parallel);
}

std::string refuse_nothing(const WindowPoolProblem&, const Isa&) { return {}; }

void run_planes(const WindowPoolProblem& problem, const WindowPoolTensors& tensors, Isa,
                const ParallelFor& parallel) {
  window_pool_planes(problem, tensors, parallel);
}

void run_reference(const WindowPoolProblem& problem, const WindowPoolTensors& tensors, Isa,
                   const ParallelFor& parallel) {
  reference_window_pool(problem, tensors, parallel);
}

}  // namespace

const std::vector<WindowPoolCpuKernel>& window_pool_cpu_kernel_table() {
  static const std::vector<WindowPoolCpuKernel> table = {
      {"simd", "adaptive windows, a vector of channels at a time", refuse_simd, run_simd},
      {"planes", "plane by plane in nchw, a block of channels at a time in nhwc", refuse_nothing,
       run_planes},
      {"reference", "plain loops, one window at a time", refuse_nothing, run_reference},
  };
  return table;
}

WindowPoolCpuPlan plan_window_pool_cpu(const WindowPoolProblem& problem, Isa isa,
                                       const std::string& forced, bool explain) {
  const std::vector<WindowPoolCpuKernel>& table = window_pool_cpu_kernel_table();
  WindowPoolCpuPlan plan;
  plan.isa = isa;
  plan.index = static_cast<int>(
      choose(std::span(table), problem, isa, forced, explain ? &plan.refusals : nullptr));
  plan.kernel = table[plan.index].name;
  if (explain) plan.why = table[plan.index].idea;
  return plan;
}

void run_window_pool_cpu(const WindowPoolCpuPlan& plan, const WindowPoolProblem& problem,
                         const WindowPoolTensors& tensors, const ParallelFor& parallel) {
  window_pool_cpu_kernel_table()[plan.index].run(problem, tensors, plan.isa, parallel);
}

}  // namespace cnnkern::cpu
