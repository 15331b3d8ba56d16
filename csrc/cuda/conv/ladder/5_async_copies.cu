// Rung 5, asynchronous copies: the next tiles are on their way while this one is multiplied.
//
// cp.async (sm_80 on) copies 16 bytes from global to shared memory without a register and without
// waiting. A ring of four stages holds the tile in use and three under way; a thread commits its
// copies of a tile as one group and waits until only the two newest are unfinished. One barrier a
// tile says both "this tile has arrived for all" and "nobody reads the one before", whose stage
// the next copies fill. cp.async also writes the zeros of the padding.
// Tile and threads as on rung 4. Shared memory: [row][depth], as copies come: a thread reads 4
// depths of one row in 16 bytes, eight neighbours those of eight neighbouring rows. Rows of 32
// bytes would let rows 0 and 4 meet in one group of banks, so in every second group of four rows
// the two pieces of 16 bytes change places. The copies, which fill whole rows, do not mind.
#include "cuda/conv/ladder/ladder.cuh"
#include "cuda/primitives/cp_async.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

constexpr int stages = 4;

struct Stage {
  float a[128][8], b[128][8];
};
struct SharedRing {
  Stage stage[stages];
};
static_assert(sizeof(SharedRing) == ladder[4].shared_bytes);

/// Where the four depths that begin at k4 = 0 or 4 lie in a row.
__device__ __forceinline__ int place(int row, int k4) { return k4 ^ row / 4 % 2 * 4; }

__global__ void __launch_bounds__(256, 1) ladder_5_async_copies(LadderProblem<float> p) {
#if CNNKERN_ARCH == 0 || CNNKERN_ARCH >= 800
  CNNKERN_SHARED(SharedRing, shared);
  int first_m, first_n;
  p.tile(128, 128, first_m, first_n);
  const int row = static_cast<int>(threadIdx.x) / 2, k4 = static_cast<int>(threadIdx.x) % 2 * 4;
  const int x = static_cast<int>(threadIdx.x) % 16, y = static_cast<int>(threadIdx.x) / 16;
  const auto window = p.window(first_m + row);
  const bool filter_exists = first_n + row < p.columns;
  const int tiles = (p.depth + 7) / 8;

  const auto copy = [&](int tile) {
    Stage& stage = shared.stage[tile % stages];
    const int depth = tile * 8 + k4;
    const auto tap = p.tap(depth);
    const bool in_image = p.inside(window, tap), in_filter = filter_exists && depth < p.depth;
    const float* from_image = p.input + (in_image ? window.offset + tap.offset : 0);
    const float* from_filter = p.weight + (in_filter ? (first_n + row) * p.depth + depth : 0);
    if (tile < tiles) {
      cp_async_16(&stage.a[row][place(row, k4)], from_image, in_image);
      cp_async_16(&stage.b[row][place(row, k4)], from_filter, in_filter);
    }
    cp_async_commit();  // an empty group too, so that the count of groups is the count of tiles
  };

  float sums[8][8] = {};
#pragma unroll
  for (int tile = 0; tile < stages - 1; ++tile) copy(tile);
  for (int tile = 0; tile < tiles; ++tile) {
    cp_async_wait<stages - 2>();
    __syncthreads();  // this tile has arrived for all, and nobody reads the one before any more
    const Stage& stage = shared.stage[tile % stages];
#pragma unroll
    for (int k = 0; k < 8; k += 4) {
      if (k == 4) copy(tile + stages - 1);  // its arithmetic runs beside the multiplications
      Vector<float, 4> a[8];
#pragma unroll
      for (int i = 0; i < 8; ++i)
        a[i] = load_shared<Vector<float, 4>>(&stage.a[y + 16 * i][place(y, k)]);
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const auto b = load_shared<Vector<float, 4>>(&stage.b[x + 16 * j][place(x, k)]);
#pragma unroll
        for (int kk = 0; kk < 4; ++kk)
#pragma unroll
          for (int i = 0; i < 8; ++i) sums[i][j] = fmaf(a[i][kk], b[kk], sums[i][j]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < 8; ++i)
#pragma unroll
    for (int j = 0; j < 8; ++j)
      store_sum(p, first_m + y + 16 * i, first_n + x + 16 * j, sums[i][j]);
#endif
}

}  // namespace

void launch_ladder_5(const ConvPlan& plan, const ConvProblem& problem, const ConvTensors& tensors,
                     cudaStream_t stream) {
  if (!aligned<5, float>(tensors)) return launch_direct<float>(plan, problem, tensors, stream);
  CNNKERN_LAUNCH(ladder_5_async_copies, grid_of(plan), dim3(plan.threads), plan.shared_bytes,
                 stream, (LadderProblem<float>(plan, problem, tensors)));
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
