// Rung 4, vectors: 16 bytes travel in one instruction, from global and from shared memory.
//
// The tile is 128 × 128, 8 deep; 256 threads with 8 × 8 outputs each. A thread brings 4 channels of
// one pixel and 4 of one filter, in one load each, and reads 8 rows and 8 filters for a depth in
// four loads of 16 bytes: four loads for 64 FMAs. One address and one border test serve four
// elements; for that C must be a multiple of 4, so that four neighbours share a tap.
// Shared memory: [depth][row], because four rows are what a thread reads; the stores turn the
// vectors, one float each, and 132 floats a row keep them out of each other's banks: the two halves
// of a pixel's 8 channels lie 4 · 132 = 16 banks apart.
#include "cuda/conv/ladder/ladder.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

using Four = Vector<float, 4>;

struct SharedTiles {
  float a[8][132], b[8][132];
};
static_assert(sizeof(SharedTiles) == ladder[3].shared_bytes);

/// Eight numbers of a row of shared memory: four from `at`, four from 64 further on.
__device__ __forceinline__ void read_eight(const float* at, float (&to)[8]) {
  const Four low = load_shared<Four>(at), high = load_shared<Four>(at + 64);
#pragma unroll
  for (int i = 0; i < 4; ++i) to[i] = low[i], to[i + 4] = high[i];
}

__global__ void __launch_bounds__(256) ladder_4_vectors(LadderProblem<float> p) {
  CNNKERN_SHARED(SharedTiles, shared);
  int first_m, first_n;
  p.tile(128, 128, first_m, first_n);
  const int row = static_cast<int>(threadIdx.x) / 2, k4 = static_cast<int>(threadIdx.x) % 2 * 4;
  const int x = static_cast<int>(threadIdx.x) % 16 * 4, y = static_cast<int>(threadIdx.x) / 16 * 4;
  const auto window = p.window(first_m + row);
  const bool filter_exists = first_n + row < p.columns;

  float sums[8][8] = {};
  for (int first_k = 0; first_k < p.depth; first_k += 8) {
    const int depth = first_k + k4;
    const auto tap = p.tap(depth);
    const Four a4 =
        load_global_or_zero<Four>(p.input + window.offset + tap.offset, p.inside(window, tap));
    const Four b4 = load_global_or_zero<Four>(p.weight + (first_n + row) * p.depth + depth,
                                              filter_exists && depth < p.depth);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      store_shared(&shared.a[k4 + i][row], a4[i]);
      store_shared(&shared.b[k4 + i][row], b4[i]);
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      float a[8], b[8];
      read_eight(&shared.a[k][y], a);
      read_eight(&shared.b[k][x], b);
#pragma unroll
      for (int i = 0; i < 8; ++i)
#pragma unroll
        for (int j = 0; j < 8; ++j) sums[i][j] = fmaf(a[i], b[j], sums[i][j]);
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 8; ++i)
#pragma unroll
    for (int j = 0; j < 8; j += 4) {
      const int pixel = first_m + y + i % 4 + i / 4 * 64, k = first_n + x + j / 4 * 64;
      if (pixel < p.rows && k < p.columns)
        store_global(p.output + pixel * p.columns + k,
                     Four{sums[i][j] + p.bias_of(k), sums[i][j + 1] + p.bias_of(k + 1),
                          sums[i][j + 2] + p.bias_of(k + 2), sums[i][j + 3] + p.bias_of(k + 3)});
    }
}

}  // namespace

void launch_ladder_4(const ConvPlan& plan, const ConvProblem& problem, const ConvTensors& tensors,
                     cudaStream_t stream) {
  if (!aligned<4, float>(tensors)) return launch_direct<float>(plan, problem, tensors, stream);
  CNNKERN_LAUNCH(ladder_4_vectors, grid_of(plan), dim3(plan.threads), plan.shared_bytes, stream,
                 (LadderProblem<float>(plan, problem, tensors)));
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
