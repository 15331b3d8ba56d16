// Unfold and fold on the CPU: one kernel for each, which takes every problem.
#pragma once

#include <string>
#include <vector>

#include "common/parallel.h"
#include "common/plan.h"
#include "common/unfold_problem.h"
#include "cpu/isa.h"

namespace cnnkern::cpu {

struct UnfoldCpuPlan {
  std::string kernel;             // its name in the table
  Isa isa = Isa::scalar;          // its code is the same everywhere
  std::string why;                // one sentence; only if asked to explain
  std::vector<Refusal> refusals;  // none
};

struct UnfoldCpuKernel {
  const char* name;
  UnfoldDirection direction;
  const char* idea;  // one line for people
  std::string (*refuse)(const UnfoldProblem& problem, const Isa& isa);
};

/// im2col, col2im
const std::vector<UnfoldCpuKernel>& unfold_cpu_kernel_table();

/// Pure. `forced` names the only kernel to ask; `explain` fills in `why`.
UnfoldCpuPlan plan_unfold_cpu(const UnfoldProblem& problem, const std::string& forced = "",
                              bool explain = false);

/// The result does not depend on `parallel`.
void run_unfold_cpu(const UnfoldProblem& problem, const UnfoldTensors& tensors,
                    const ParallelFor& parallel);

}  // namespace cnnkern::cpu
