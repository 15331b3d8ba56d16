// Which adaptive, fractional or unpooling kernel runs, and on what grid. Pure host code: no CUDA,
// no tensors.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "common/device_caps.h"
#include "common/plan.h"
#include "common/window_pool_problem.h"

namespace cnnkern {

struct WindowPoolPlan {
  std::string kernel;  // "window_max_pool_forward"
  std::array<int64_t, 3> grid{0, 1, 1};
  int threads = 0;
  std::string symbol;  // substring of the demangled name in the compiler's records
  std::string why;
  std::vector<Refusal> refusals;
};

struct WindowPoolKernelInfo {
  std::string name;
  WindowPoolDirection direction;
  DType dtype;
  int threads;
  std::string symbol;
};

/// `forced`, if not empty, names the only kernel to ask.
WindowPoolPlan plan_window_pool(const WindowPoolProblem& problem, const DeviceCaps& device,
                                const std::string& forced = "");

std::vector<WindowPoolKernelInfo> window_pool_kernel_table();

}  // namespace cnnkern
