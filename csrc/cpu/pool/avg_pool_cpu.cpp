#include "cpu/pool/avg_pool_cpu.h"

#include "cpu/pool/avg_pool.h"
#include "cpu/reference_avg_pool.h"

namespace cnnkern::cpu {
namespace {

std::string refuse_nothing(const AvgPoolProblem&, const Isa&) { return {}; }

void run_simd(const AvgPoolProblem& problem, const AvgPoolTensors& tensors, Isa isa,
              const ParallelFor& parallel) {
#if defined(__x86_64__)
  if (isa == Isa::avx512) return avx512::avg_pool(problem, tensors, parallel);
  if (isa == Isa::avx2) return avx2::avg_pool(problem, tensors, parallel);
#endif
  (void)isa;
  scalar::avg_pool(problem, tensors, parallel);
}

std::string refuse_integers(const AvgPoolProblem& problem, const Isa&) {
  if (!is_integer(problem.dtype)) return {};
  return std::string("it computes floating-point types, this problem is ") +
         to_string(problem.dtype);
}

void run_reference(const AvgPoolProblem& problem, const AvgPoolTensors& tensors, Isa,
                   const ParallelFor& parallel) {
  reference_avg_pool(problem, tensors, parallel);
}

}  // namespace

const std::vector<AvgPoolCpuKernel>& avg_pool_cpu_kernel_table() {
  static const std::vector<AvgPoolCpuKernel> table = {
      {"simd", "rows in a buffer, then windows along w in nchw; a vector of channels in nhwc",
       refuse_integers, run_simd},
      {"reference", "plain loops, one window at a time", refuse_nothing, run_reference},
  };
  return table;
}

AvgPoolCpuPlan plan_avg_pool_cpu(const AvgPoolProblem& problem, Isa isa, const std::string& forced,
                                 bool explain) {
  const std::vector<AvgPoolCpuKernel>& table = avg_pool_cpu_kernel_table();
  AvgPoolCpuPlan plan;
  plan.isa = isa;
  plan.index = static_cast<int>(
      choose(std::span(table), problem, isa, forced, explain ? &plan.refusals : nullptr));
  plan.kernel = table[plan.index].name;
  if (explain) plan.why = table[plan.index].idea;
  return plan;
}

void run_avg_pool_cpu(const AvgPoolCpuPlan& plan, const AvgPoolProblem& problem,
                      const AvgPoolTensors& tensors, const ParallelFor& parallel) {
  avg_pool_cpu_kernel_table()[plan.index].run(problem, tensors, plan.isa, parallel);
}

}  // namespace cnnkern::cpu
