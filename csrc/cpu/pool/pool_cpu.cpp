#include "cpu/pool/pool_cpu.h"

#include "cpu/reference.h"

namespace cnnkern::cpu {
namespace {

std::string refuse_nothing(const PoolProblem&, const Isa&) { return {}; }

void run_reference(const PoolProblem& problem, const PoolTensors& tensors, Isa,
                   const ParallelFor& parallel) {
  reference_pool(problem, tensors, parallel);
}

}  // namespace

const std::vector<PoolCpuKernel>& pool_cpu_kernel_table() {
  static const std::vector<PoolCpuKernel> table = {
      {"reference", "plain loops, one output element at a time", refuse_nothing, run_reference},
  };
  return table;
}

PoolCpuPlan plan_pool_cpu(const PoolProblem& problem, Isa isa, const std::string& forced,
                          bool explain) {
  const std::vector<PoolCpuKernel>& table = pool_cpu_kernel_table();
  PoolCpuPlan plan;
  plan.isa = isa;
  plan.index = static_cast<int>(
      choose(std::span(table), problem, isa, forced, explain ? &plan.refusals : nullptr));
  plan.kernel = table[plan.index].name;
  if (explain) plan.why = table[plan.index].idea;
  return plan;
}

void run_pool_cpu(const PoolCpuPlan& plan, const PoolProblem& problem, const PoolTensors& tensors,
                  const ParallelFor& parallel) {
  pool_cpu_kernel_table()[plan.index].run(problem, tensors, plan.isa, parallel);
}

}  // namespace cnnkern::cpu
