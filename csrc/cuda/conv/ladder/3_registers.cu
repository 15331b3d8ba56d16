// Rung 3, registers: a thread computes 4 × 4 outputs, so what it reads from shared memory is used
// four times.
//
// The tile is 64 × 64, 16 deep; 256 threads, a thread owns rows y, y + 16, … and filters x, x + 16,
// …. For each depth it reads 4 + 4 numbers and multiplies 16 times: half a load an FMA, where rung
// 2 needed two. The global loads stay those of rung 2, four a thread and matrix.
// Shared memory: [depth][row], so that the filters of a warp are neighbours; 66 floats a row spread
// the stores, which come from 16 depths and 2 rows, over all banks.
// Source: V. Volkov & J. Demmel, "Benchmarking GPUs to tune dense linear algebra" (2008).
#include "cuda/conv/ladder/ladder.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

struct SharedTiles {
  float a[16][66], b[16][66];
};
static_assert(sizeof(SharedTiles) == ladder[2].shared_bytes);

__global__ void __launch_bounds__(256, 2) ladder_3_registers(LadderProblem<float> p) {
  CNNKERN_SHARED(SharedTiles, shared);
  int first_m, first_n;
  p.tile(64, 64, first_m, first_n);
  const int x = static_cast<int>(threadIdx.x) % 16, y = static_cast<int>(threadIdx.x) / 16;
  typename LadderProblem<float>::Window windows[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) windows[i] = p.window(first_m + y + 16 * i);

  float sums[4][4] = {};
  for (int first_k = 0; first_k < p.depth; first_k += 16) {
    const int depth = first_k + x;
    const auto tap = p.tap(depth);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int k = first_n + y + 16 * i;
      store_shared(&shared.a[x][y + 16 * i],
                   load_global_or_zero<float>(p.input + windows[i].offset + tap.offset,
                                              p.inside(windows[i], tap)));
      store_shared(&shared.b[x][y + 16 * i],
                   load_global_or_zero<float>(p.weight + k * p.depth + depth,
                                              k < p.columns && depth < p.depth));
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < 16; ++k) {
      float a[4], b[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        a[i] = load_shared<float>(&shared.a[k][y + 16 * i]);
        b[i] = load_shared<float>(&shared.b[k][x + 16 * i]);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[i][j] = fmaf(a[i], b[j], sums[i][j]);
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j)
      store_sum(p, first_m + y + 16 * i, first_n + x + 16 * j, sums[i][j]);
}

}  // namespace

void launch_ladder_3(const ConvPlan& plan, const ConvProblem& problem, const ConvTensors& tensors,
                     cudaStream_t stream) {
  CNNKERN_LAUNCH(ladder_3_registers, grid_of(plan), dim3(plan.threads), plan.shared_bytes, stream,
                 (LadderProblem<float>(plan, problem, tensors)));
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
