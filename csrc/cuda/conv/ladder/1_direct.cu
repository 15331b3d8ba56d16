// Rung 1, the definition: one thread computes one element of the output.
//
// Neighbouring threads own neighbouring filters of one pixel, so the stores of a warp are one run
// of memory. The input is the same for all of them (a broadcast); their weights lie a whole filter
// apart, so that a warp's load of a weight touches 32 sectors of 32 bytes for 4 bytes each. Two
// loads for one FMA: the multipliers wait for memory. No shared memory.
#include "cuda/conv/ladder/ladder.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

__global__ void __launch_bounds__(256) ladder_1_direct(LadderProblem<float> p) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= static_cast<int64_t>(p.rows) * p.columns) return;
  int k;
  const int row = p.by_columns.divmod(static_cast<int>(index), k);
  const auto window = p.window(row);
  float sum = 0;
  for (int depth = 0; depth < p.depth; ++depth) {
    const auto tap = p.tap(depth);
    if (p.inside(window, tap))
      sum = fmaf(load_global_readonly<float>(p.input + window.offset + tap.offset),
                 load_global_readonly<float>(p.weight + k * p.depth + depth), sum);
  }
  store_sum(p, row, k, sum);
}

}  // namespace

void launch_ladder_1(const ConvPlan& plan, const ConvProblem& problem, const ConvTensors& tensors,
                     cudaStream_t stream) {
  CNNKERN_LAUNCH(ladder_1_direct, grid_of(plan), dim3(plan.threads), plan.shared_bytes, stream,
                 (LadderProblem<float>(plan, problem, tensors)));
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
