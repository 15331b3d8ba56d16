#include "cpu/pool/pool_cpu.h"

#include "cpu/pool/max_pool.h"
#include "cpu/reference.h"

namespace cnnkern::cpu {
namespace {

std::string refuse_integers(const PoolProblem& problem) {
  if (!is_integer(problem.dtype)) return {};
  return std::string("it computes floating-point types, this problem is ") +
         to_string(problem.dtype);
}

std::string refuse_simd(const PoolProblem& problem, const Isa&) {
  if (problem.direction == PoolDirection::gather) return "it does not gather by saved positions";
  if (problem.direction == PoolDirection::backward && problem.layout == Layout::nchw)
    return "in nchw few lanes of a vector would find their maximum";
  if (problem.input.volume() >= int64_t{1} << 31)
    return "a plane has 2^31 elements or more, too many for a 32-bit position";
  return refuse_integers(problem);
}

void run_simd(const PoolProblem& problem, const PoolTensors& tensors, Isa isa,
              const ParallelFor& parallel) {
  const bool forward = problem.direction == PoolDirection::forward;
  auto* run = forward ? scalar::max_pool_forward : scalar::max_pool_backward;
#if defined(__x86_64__)
  if (isa == Isa::avx2) run = forward ? avx2::max_pool_forward : avx2::max_pool_backward;
  if (isa == Isa::avx512) run = forward ? avx512::max_pool_forward : avx512::max_pool_backward;
#endif
  (void)isa;
  run(problem, tensors, parallel);
}

std::string refuse_scatter(const PoolProblem& problem, const Isa&) {
  if (problem.direction != PoolDirection::backward)
    return "it computes the backward direction only";
  if (problem.layout == Layout::nhwc && problem.indices == PoolIndices::offsets)
    return "in nhwc it reads positions, not offsets";
  return refuse_integers(problem);
}

void run_scatter(const PoolProblem& problem, const PoolTensors& tensors, Isa,
                 const ParallelFor& parallel) {
  max_pool_scatter(problem, tensors, parallel);
}

std::string refuse_nothing(const PoolProblem&, const Isa&) { return {}; }

void run_reference(const PoolProblem& problem, const PoolTensors& tensors, Isa,
                   const ParallelFor& parallel) {
  reference_pool(problem, tensors, parallel);
}

}  // namespace

const std::vector<PoolCpuKernel>& pool_cpu_kernel_table() {
  static const std::vector<PoolCpuKernel> table = {
      {"simd", "a vector of windows at a time: along w in nchw, channels in nhwc; backward pixels",
       refuse_simd, run_simd},
      {"scatter", "each window adds its gradient at the saved position of its own plane",
       refuse_scatter, run_scatter},
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
