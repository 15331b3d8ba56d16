// Implicit GEMM on the tensor cores: one main loop for float16, and from sm_80 on for bfloat16 and
// for float32, rounded to tf32 or (3xtf32) as the sum of two.
//
// A block computes m × n of the result, k = 32 (float32: 16) of the depth at a time; its warps take
// 64 × 64 or 64 × 32 of it (3xtf32: 32 × 32), an mma's 16 or 8 depths a step, with sums in float32.
// Shared memory: a ring of stages, each A then B, swizzled (mma_tile.cuh), filled tiles ahead
// (mma_pipeline.cuh). While a step is multiplied, the fragments of the next are loaded, over the
// border of two tiles as well: the wait and the one barrier of a tile stand before its last step,
// when all its fragments are in registers. The source of the tiles decides which products are
// summed; it gives
//
//   void copy(Stage& stage);   starts this thread's copies of the next tile; zeros past the end
//   void land(Stage& stage);   stores them where they came into registers (mma_pipeline.cuh)
//
// Source: CUTLASS's "MmaMultistage".
#pragma once

#include "cuda/conv/mma_pipeline.cuh"
#include "cuda/conv/mma_tile.cuh"
#include "cuda/primitives/shared.cuh"
#include "cuda/primitives/warp.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

/// The threads of a block, as launch bounds can have them.
template <class Element, int m, int n>
constexpr int mma_block =
    32 * (m / (std::is_same_v<Element, tf32x3> ? 32 : 64)) * (n / (m >= 128 && n >= 128 ? 64 : 32));

template <class Element_, int m, int n, int k, Major major_a, Major major_b>
struct MmaGemm {
  using Element = Element_;
  using Mma = typename MmaOf<Element>::type;
  static constexpr int tile_m = m, tile_n = n, tile_k = k;
  static constexpr bool splits = std::is_same_v<Element, tf32x3>;
  static constexpr int warp_m = mma_warp_m(splits), warp_n = mma_warp_n({m, n, k});
  static constexpr int warps_n = n / warp_n, warps = m / warp_m * warps_n;
  static constexpr int threads = mma_threads({m, n, k}, splits);
  static constexpr int stages = mma_stages(CNNKERN_ARCH / 10);
  static constexpr int steps = k / Mma::k;
  static_assert(steps % 2 == 0, "two sets of fragments take turns, in every tile alike");

  using LoaderA = FragmentLoader<Element, Side::a, major_a, m, k>;
  using LoaderB = FragmentLoader<Element, Side::b, major_b, n, k>;
  using Sums = WarpSums<Mma, warp_m, warp_n>;

  struct Stage {
    typename LoaderA::Tile a;
    typename LoaderB::Tile b;
  };

  // After the main loop each warp passes 16 rows of its sums through shared memory at a time.
  static constexpr int slab_rows = 16, slab_pitch = warp_n + 8;
  union Shared {
    Stage stage[stages];
    float slab[warps][slab_rows * slab_pitch];
  };
  static_assert(sizeof(Shared) == mma_shared_bytes({m, n, k}, CNNKERN_ARCH / 10, sizeof(Element)));

  /// The warp's place in the tile.
  __device__ __forceinline__ static int warp_row() { return warp_index() / warps_n * warp_m; }
  __device__ __forceinline__ static int warp_column() { return warp_index() % warps_n * warp_n; }

  /// sums += A · B over `tiles` tiles of the depth.
  template <class Pipeline = MmaPipeline, class Source>
  __device__ __forceinline__ static void multiply(Shared& shared, Source& source, int tiles,
                                                  Sums& sums) {
    const LoaderA a(warp_row());
    const LoaderB b(warp_column());
    const auto load = [&](Fragments<Element, warp_m, warp_n>& to, const Stage& stage, int step) {
#pragma unroll
      for (int i = 0; i < warp_m / LoaderA::block_mn; ++i) to.a[i] = a.load(stage.a, i, step);
#pragma unroll
      for (int j = 0; j < warp_n / LoaderB::block_mn; ++j) to.b[j] = b.load(stage.b, j, step);
    };

    Pipeline::begin(source, shared.stage);
    __syncthreads();  // the first tile has arrived for all
    Fragments<Element, warp_m, warp_n> fragments[2];
    load(fragments[0], shared.stage[0], 0);
    int read = 0;
#pragma unroll 1
    for (int tile = 0; tile < tiles; ++tile) {
#pragma unroll
      for (int step = 0; step + 1 < steps; ++step) {
        load(fragments[(step + 1) % 2], shared.stage[read], step + 1);
        multiply_fragments(fragments[step % 2], sums);
      }
      const int next = read + 1 == stages ? 0 : read + 1;
      Pipeline::template arrive<stages>(source, shared.stage[next]);
      __syncthreads();  // the next tile has arrived for all, and nobody reads this one any more
      load(fragments[0], shared.stage[next], 0);
      Pipeline::copy(source, shared.stage[read]);
      multiply_fragments(fragments[1], sums);
      read = next;
    }
    Pipeline::end();
    __syncthreads();  // shared memory is free
  }
};

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
