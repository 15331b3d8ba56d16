// Adaptive and fractional max pooling and unpooling on the CPU: the list of kernels, the choice
// among them, and the call.
#pragma once

#include <string>
#include <vector>

#include "common/parallel.h"
#include "common/plan.h"
#include "common/window_pool_problem.h"
#include "cpu/isa.h"

namespace cnnkern::cpu {

struct WindowPoolCpuPlan {
  std::string kernel;             // its name in the table
  int index = 0;                  // its place there
  Isa isa = Isa::scalar;          // the instruction set it will use
  std::string why;                // one sentence; only if asked to explain
  std::vector<Refusal> refusals;  // of the kernels before it; only if asked to explain
};

struct WindowPoolCpuKernel {
  const char* name;
  const char* idea;  // one line for people
  std::string (*refuse)(const WindowPoolProblem& problem, const Isa& isa);
  void (*run)(const WindowPoolProblem& problem, const WindowPoolTensors& tensors, Isa isa,
              const ParallelFor& parallel);
};

/// Best first; `reference` is last and refuses nothing.
const std::vector<WindowPoolCpuKernel>& window_pool_cpu_kernel_table();

/// Pure. `forced` names the only kernel to ask; `explain` fills in `why` and `refusals`.
WindowPoolCpuPlan plan_window_pool_cpu(const WindowPoolProblem& problem, Isa isa,
                                       const std::string& forced = "", bool explain = false);

/// Pointers need no alignment beyond their element's. The result does not depend on `parallel`.
void run_window_pool_cpu(const WindowPoolCpuPlan& plan, const WindowPoolProblem& problem,
                         const WindowPoolTensors& tensors, const ParallelFor& parallel);

}  // namespace cnnkern::cpu
