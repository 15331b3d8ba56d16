// Which average-pooling kernel runs, and on what grid. Pure host code: no CUDA, no tensors.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "common/avg_pool_problem.h"
#include "common/device_caps.h"
#include "common/plan.h"

namespace cnnkern {

struct AvgPoolPlan {
  std::string kernel;  // "avg_pool_forward"
  std::array<int64_t, 3> grid{0, 1, 1};
  int threads = 0;
  std::string symbol;  // substring of the demangled name in the compiler's records
  std::string why;
  std::vector<Refusal> refusals;
};

struct AvgPoolKernelInfo {
  std::string name;
  AvgPoolDirection direction;
  DType dtype;
  int threads;
  std::string symbol;
};

/// `forced`, if not empty, names the only kernel to ask.
AvgPoolPlan plan_avg_pool(const AvgPoolProblem& problem, const DeviceCaps& device,
                          const std::string& forced = "");

std::vector<AvgPoolKernelInfo> avg_pool_kernel_table();

}  // namespace cnnkern
