#include "cpu/conv/conv_cpu.h"

#include <algorithm>

#include "cpu/conv/gather_conv.h"
#include "cpu/reference.h"

namespace cnnkern::cpu {
namespace {

const ConvKernels& kernels_of(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::avx512) return avx512::conv_kernels;
  if (isa == Isa::avx2) return avx2::conv_kernels;
#endif
  (void)isa;
  return scalar::conv_kernels;
}

// The gathers hold coordinates in 32 bits and run dgrad's parity classes one after another.
std::string refuse_gather(const ConvProblem& problem, const Isa&) {
  constexpr int64_t limit = int64_t{1} << 29;
  int64_t classes = 1;
  for (int axis = 0; axis < 3; ++axis) {
    const int64_t padded = problem.input[axis] + problem.pad_begin[axis] + problem.pad_end[axis];
    if (padded >= limit || problem.output[axis] >= limit)
      return "an axis with its padding has 2^29 elements or more";
    classes *= std::min(problem.stride[axis], problem.input[axis]);
  }
  if (problem.direction == ConvDirection::dgrad && classes > 1024)
    return "the strides make more than 1024 parity classes";
  return {};
}

void run_implicit_gemm(const ConvProblem& problem, const ConvTensors& tensors, Isa isa,
                       const ParallelFor& parallel) {
  const ConvKernels& kernels = kernels_of(isa);
  if (problem.direction == ConvDirection::wgrad) {
    std::vector<Tap> taps;
    return kernels.reduce_gemm(make_reduce(problem, tensors, taps), parallel);
  }
  for_each_gather(problem, tensors,
                  [&](const GatherConv& conv) { kernels.gather_gemm(conv, parallel); });
}

std::string refuse_nothing(const ConvProblem&, const Isa&) { return {}; }

void run_reference(const ConvProblem& problem, const ConvTensors& tensors, Isa,
                   const ParallelFor& parallel) {
  reference_conv(problem, tensors, parallel);
}

}  // namespace

const std::vector<ConvCpuKernel>& conv_cpu_kernel_table() {
  static const std::vector<ConvCpuKernel> table = {
      {"implicit_gemm", "packed panels of patches times packed weights", refuse_gather,
       run_implicit_gemm},
      {"reference", "plain loops, one output element at a time", refuse_nothing, run_reference},
  };
  return table;
}

ConvCpuPlan plan_conv_cpu(const ConvProblem& problem, Isa isa, const std::string& forced,
                          bool explain) {
  const std::vector<ConvCpuKernel>& table = conv_cpu_kernel_table();
  ConvCpuPlan plan;
  plan.isa = isa;
  plan.index = static_cast<int>(
      choose(std::span(table), problem, isa, forced, explain ? &plan.refusals : nullptr));
  plan.kernel = table[plan.index].name;
  if (explain) plan.why = table[plan.index].idea;
  return plan;
}

void run_conv_cpu(const ConvCpuPlan& plan, const ConvProblem& problem, const ConvTensors& tensors,
                  const ParallelFor& parallel) {
  conv_cpu_kernel_table()[plan.index].run(problem, tensors, plan.isa, parallel);
}

void run_bias_grad_cpu(const ConvProblem& problem, const ConvTensors& tensors, void* grad_bias,
                       const ParallelFor&) {
  reference_bias_grad(problem, tensors, grad_bias);
}

}  // namespace cnnkern::cpu
