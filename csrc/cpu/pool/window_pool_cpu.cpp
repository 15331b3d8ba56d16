#include "cpu/pool/window_pool_cpu.h"

#include "cpu/pool/window_pool.h"
#include "cpu/reference_window_pool.h"

namespace cnnkern::cpu {
namespace {

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
