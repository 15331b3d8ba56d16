// Rung 6, tensor cores: one instruction of a warp multiplies 16 × 16 by 16 × 8 (float16 in, float32
// sums), 2,048 multiply-adds where an FMA of a warp does 32.
//
// The tile is 128 × 128, 32 deep; four warps own a quarter of 64 × 64 each, as 4 × 8 products of
// 16 × 8. Fragments come by ldmatrix: 8 × 8 elements a matrix, four matrices at once. The ring of
// three stages is that of rung 5, with 8 channels a copy.
// Shared memory: [row][depth], 64 bytes a row, nothing between the rows: padding would cost a fifth
// of it. Instead the four pieces of 16 bytes of a row change places (XOR with half the row's
// number), so that the same piece of eight neighbouring rows, which is what ldmatrix reads, lies in
// eight different groups of banks; and so do the pieces that eight neighbouring threads write.
// Source: the fragments of mma.sync (PTX ISA); the swizzle is CUTLASS's idea.
#include "cuda/conv/ladder/ladder.cuh"
#include "cuda/primitives/cp_async.cuh"
#include "cuda/primitives/ldmatrix.cuh"
#include "cuda/primitives/mma.cuh"
#include "cuda/primitives/warp.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

constexpr int stages = 3;

struct Stage {
  float16 a[128 * 32], b[128 * 32];
};
struct SharedRing {
  Stage stage[stages];
};
static_assert(sizeof(SharedRing) == ladder[5].shared_bytes);

/// Where piece 0 … 3 of a row lies.
__device__ __forceinline__ int place(int row, int piece) {
  return row * 32 + (piece ^ (row / 2 % 4)) * 8;
}

__global__ void __launch_bounds__(128, 1) ladder_6_tensor_cores(LadderProblem<float16> p) {
#if CNNKERN_ARCH == 0 || CNNKERN_ARCH >= 800
  using Mma = Mma16x8x16F16;
  CNNKERN_SHARED(SharedRing, shared);
  int first_m, first_n;
  p.tile(128, 128, first_m, first_n);
  const int thread = static_cast<int>(threadIdx.x), lane = lane_index();
  const int piece = thread % 4, first_row = thread / 4;  // of this thread's copies
  const int warp_m = warp_index() / 2 * 64, warp_n = warp_index() % 2 * 64;
  typename LadderProblem<float16>::Window windows[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) windows[i] = p.window(first_m + first_row + 32 * i);
  const int tiles = (p.depth + 31) / 32;

  const auto copy = [&](int tile) {
    if (tile < tiles) {
      Stage& stage = shared.stage[tile % stages];
      const int depth = tile * 32 + piece * 8;
      const auto tap = p.tap(depth);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = first_row + 32 * i, k = first_n + row;
        const bool in_image = p.inside(windows[i], tap);
        const bool in_filter = k < p.columns && depth < p.depth;
        cp_async_16(stage.a + place(row, piece),
                    p.input + (in_image ? windows[i].offset + tap.offset : 0), in_image);
        cp_async_16(stage.b + place(row, piece), p.weight + (in_filter ? k * p.depth + depth : 0),
                    in_filter);
      }
    }
    cp_async_commit();  // an empty group too, so that the count of groups is the count of tiles
  };

  typename Mma::C sums[4][8] = {};
#pragma unroll
  for (int tile = 0; tile < stages - 1; ++tile) copy(tile);
  for (int tile = 0; tile < tiles; ++tile) {
    cp_async_wait<stages - 2>();
    __syncthreads();  // this tile has arrived for all, and nobody reads the one before any more
    copy(tile + stages - 1);
    const Stage& stage = shared.stage[tile % stages];
#pragma unroll
    for (int k = 0; k < 4; k += 2) {  // two pieces are the 16 depths of an mma
      // A: four matrices are 16 rows × 16 depths. B: 16 filters × 16 depths, two columns of mma.
      typename Mma::A a[4];
      Vector<unsigned, 4> b[4];
#pragma unroll
      for (int i = 0; i < 4; ++i)
        a[i] = ldmatrix<4>(stage.a + place(warp_m + 16 * i + lane % 16, k + lane / 16));
#pragma unroll
      for (int j = 0; j < 4; ++j)
        b[j] = ldmatrix<4>(stage.b +
                           place(warp_n + 16 * j + lane / 16 * 8 + lane % 8, k + lane / 8 % 2));
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 8; ++j)
          sums[i][j] = mma<Mma>(a[i], typename Mma::B{b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]},
                                sums[i][j]);
    }
  }
  // A lane holds pairs of neighbouring filters, of two rows that lie 8 apart.
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 8; ++j)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = first_m + warp_m + 16 * i + 8 * half + lane / 4;
        const int k = first_n + warp_n + 8 * j + lane % 4 * 2;
        if (row < p.rows && k < p.columns)
          store_global(p.output + row * p.columns + k,
                       Vector<float16, 2>{float16(sums[i][j][2 * half] + p.bias_of(k)),
                                          float16(sums[i][j][2 * half + 1] + p.bias_of(k + 1))});
      }
#endif
}

}  // namespace

void launch_ladder_6(const ConvPlan& plan, const ConvProblem& problem, const ConvTensors& tensors,
                     cudaStream_t stream) {
  if (!aligned<6, float16>(tensors)) return launch_direct<float16>(plan, problem, tensors, stream);
  CNNKERN_LAUNCH(ladder_6_tensor_cores, grid_of(plan), dim3(plan.threads), plan.shared_bytes,
                 stream, (LadderProblem<float16>(plan, problem, tensors)));
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
