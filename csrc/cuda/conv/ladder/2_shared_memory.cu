// Rung 2, shared memory: a block computes a tile of 16 × 16 outputs, and loads what it needs once.
//
// 256 threads bring 16 × 16 elements of each matrix to shared memory, each thread one of each, then
// every thread reads 16 of both for its own sum: a loaded element is used 16 times. The block's
// loads run along the channels, in one piece of memory for every row. Two barriers a tile: nobody
// computes before all have stored, nobody stores before all have computed.
// Shared memory: a[row][depth], b[filter][depth], 17 floats a row: with 16, the sixteen filters
// that a warp reads at one depth would lie in two banks. (Its stores, far fewer, still meet in
// pairs.) Source: the tiled matrix product of the CUDA C++ Programming Guide ("Shared Memory").
#include "cuda/conv/ladder/ladder.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

struct SharedTiles {
  float a[16][17], b[16][17];
};
static_assert(sizeof(SharedTiles) == ladder[1].shared_bytes);

__global__ void __launch_bounds__(256) ladder_2_shared_memory(LadderProblem<float> p) {
  CNNKERN_SHARED(SharedTiles, shared);
  int first_m, first_n;
  p.tile(16, 16, first_m, first_n);
  const int x = static_cast<int>(threadIdx.x) % 16, y = static_cast<int>(threadIdx.x) / 16;
  const auto window = p.window(first_m + y);
  float sum = 0;
  for (int first_k = 0; first_k < p.depth; first_k += 16) {
    const int depth = first_k + x;
    const auto tap = p.tap(depth);
    store_shared(&shared.a[y][x], load_global_or_zero<float>(p.input + window.offset + tap.offset,
                                                             p.inside(window, tap)));
    store_shared(&shared.b[y][x],
                 load_global_or_zero<float>(p.weight + (first_n + y) * p.depth + depth,
                                            first_n + y < p.columns && depth < p.depth));
    __syncthreads();
#pragma unroll
    for (int k = 0; k < 16; ++k)
      sum = fmaf(load_shared<float>(&shared.a[y][k]), load_shared<float>(&shared.b[x][k]), sum);
    __syncthreads();
  }
  store_sum(p, first_m + y, first_n + x, sum);
}

}  // namespace

void launch_ladder_2(const ConvPlan& plan, const ConvProblem& problem, const ConvTensors& tensors,
                     cudaStream_t stream) {
  CNNKERN_LAUNCH(ladder_2_shared_memory, grid_of(plan), dim3(plan.threads), plan.shared_bytes,
                 stream, (LadderProblem<float>(plan, problem, tensors)));
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
