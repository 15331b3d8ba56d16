#include "cuda/pool/unfold_plan.h"

namespace cnnkern {

PoolPlan plan_unfold(const UnfoldProblem& problem) {
  constexpr int threads = 256;
  if (problem.fold) require_floating_point(problem.dtype);  // unfold moves any bytes
  PoolPlan plan;
  plan.kernel = problem.fold ? "col2im" : "im2col";
  plan.threads = threads;
  const int64_t elements = problem.fold ? problem.image_elements() : problem.column_elements();
  plan.grid[0] = (elements * problem.parts + threads - 1) / threads;
  plan.why = "one thread for each number of the result; takes every shape";
  return plan;
}

}  // namespace cnnkern
