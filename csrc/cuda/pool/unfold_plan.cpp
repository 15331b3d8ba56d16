#include "cuda/pool/unfold_plan.h"

namespace cnnkern {

PoolPlan plan_unfold(const UnfoldProblem& problem) {
  if (problem.fold) require_floating_point(problem.dtype);  // unfold moves any bytes
  PoolPlan plan;
  plan.kernel = problem.fold ? "col2im" : "im2col";
  plan.threads = pool_threads;
  const int64_t elements = problem.fold ? problem.image_elements() : problem.column_elements();
  plan.grid[0] = pool_blocks(elements * problem.parts);
  plan.why = "one thread for each number of the result; takes every shape";
  return plan;
}

}  // namespace cnnkern
