// Convolution on the CPU: the list of kernels, the choice among them, and the call.
#pragma once

#include <string>
#include <vector>

#include "common/conv_problem.h"
#include "common/parallel.h"
#include "common/plan.h"
#include "cpu/isa.h"

namespace cnnkern::cpu {

struct ConvCpuPlan {
  std::string kernel;             // its name in the table
  int index = 0;                  // its place there
  Isa isa = Isa::scalar;          // the instruction set it will use
  std::string why;                // one sentence; only if asked to explain
  std::vector<Refusal> refusals;  // of the kernels before it; only if asked to explain
};

struct ConvCpuKernel {
  const char* name;
  const char* idea;  // one line for people
  std::string (*refuse)(const ConvProblem& problem, const Isa& isa);
  void (*run)(const ConvProblem& problem, const ConvTensors& tensors, Isa isa,
              const ParallelFor& parallel);
  /// Null where weights are read as they are. Writes tensors.weight as run() reads it from
  /// tensors.packed, if `to` is not null; gives the bytes that it takes, 0 if that does not pay.
  int64_t (*pack)(const ConvProblem& problem, const ConvTensors& tensors, void* to, Isa isa,
                  const ParallelFor& parallel) = nullptr;
};

/// Best first; `reference` is last and refuses nothing.
const std::vector<ConvCpuKernel>& conv_cpu_kernel_table();

/// Pure. `forced` names the only kernel to ask; `explain` fills in `why` and `refusals`.
ConvCpuPlan plan_conv_cpu(const ConvProblem& problem, Isa isa, const std::string& forced = "",
                          bool explain = false);

/// Pointers need no alignment beyond their element's. The result does not depend on `parallel`.
void run_conv_cpu(const ConvCpuPlan& plan, const ConvProblem& problem, const ConvTensors& tensors,
                  const ParallelFor& parallel);

/// Packs the weight of an fprop once for many calls, into `to` if it is not null; its bytes, or 0
/// where the plan's kernel reads weights as they are. run_conv_cpu() takes the result as
/// tensors.packed beside tensors.weight, for this problem or another: where the plan wants a weight
/// packed in another way (another kernel, instruction set or layout) it reads tensors.weight.
/// Begins with its own number of bytes, an int64_t.
int64_t pack_weight_cpu(const ConvCpuPlan& plan, const ConvProblem& problem, const void* weight,
                        void* to, const ParallelFor& parallel);

/// grad_bias[k] = Σ over n, z, p, q of tensors.output (the gradient of the output).
void run_bias_grad_cpu(const ConvProblem& problem, const ConvTensors& tensors, void* grad_bias,
                       const ParallelFor& parallel);

}  // namespace cnnkern::cpu
