// One line about a plan, for CNNKERN_VERBOSE=1.
#pragma once

#include <string>

#include "cuda/conv/conv_plan.h"
#include "cuda/pool/pool_plan.h"

namespace cnnkern {

inline std::string grid_text(const std::array<int64_t, 3>& grid, int threads) {
  return "grid " + std::to_string(grid[0]) + " x " + std::to_string(grid[1]) + " x " +
         std::to_string(grid[2]) + ", " + std::to_string(threads) + " threads";
}

inline std::string to_string(const ConvPlan& plan) {
  std::string text = plan.kernel;
  if (plan.tile.m > 0)
    text += ", tile " + std::to_string(plan.tile.m) + " x " + std::to_string(plan.tile.n) + " x " +
            std::to_string(plan.tile.k);
  text += ", " + grid_text(plan.grid, plan.threads);
  if (plan.split_k > 1) text += ", split-K " + std::to_string(plan.split_k);
  return text;
}

inline std::string to_string(const PoolPlan& plan) {
  return plan.kernel + ", " + grid_text(plan.grid, plan.threads);
}

}  // namespace cnnkern
