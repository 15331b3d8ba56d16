// Implicit GEMM on the FP32 units: one main loop for fprop, dgrad and wgrad. (The ring of tiles is
// also that of the FP64 units: implicit_gemm_f64.cuh.)
//
// A block of 16 × (n/8) threads computes an m × n tile of the result, k of the depth at a time; a
// thread keeps m/16 × 8 sums. Each step it reads a slab of 4 depths of both operands from shared
// memory, 16 bytes a load, for 4 · m/16 · 8 FMAs. Which rows and columns a thread owns follows from
// how the operand lies (tile_loader.cuh):
//   Major::k   rows thread, thread + T, …:           16 bytes are 4 depths of one row
//   Major::mn  rows 4·thread … +3, m/2 further on …: 16 bytes are 4 rows at one depth
// Shared memory: a ring of stages, each holding A then B. From sm_80 on cp.async fills the ring
// stages − 1 tiles ahead; before, two stages take turns and the next tile waits in registers.
// Either way one barrier a tile. Source: the blocked SGEMM of the textbooks (V. Volkov, J. Demmel
// 2008), with a convolution's addresses.
#pragma once

#include "cuda/conv/tile_loader.cuh"
#include "cuda/conv/tile_position.cuh"
#include "cuda/primitives/shared.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

template <class Element, int tile_m, int tile_n, int tile_k>
struct SimtShared {
  static constexpr int stages = simt_stages(CNNKERN_ARCH / 10);
  static constexpr Tile tile{tile_m, tile_n, tile_k};

  struct Stage {
    Element a[tile_m * tile_k];
    Element b[tile_n * tile_k];
  };
  Stage stage[stages];

  static_assert(sizeof(Stage) * stages ==
                simt_shared_bytes(tile, CNNKERN_ARCH / 10, sizeof(Element)));
};

/// sums += A · B over the depths [k_begin, k_end).
template <class Gemm, class OperandA, class OperandB>
__device__ __forceinline__ void multiply_tiles(typename Gemm::Shared& shared,
                                               const OperandA& operand_a, const OperandB& operand_b,
                                               int first_m, int first_n, int k_begin, int k_end,
                                               typename Gemm::Accumulators& sums) {
  typename Gemm::template LoaderA<OperandA> a(operand_a, first_m, k_begin);
  typename Gemm::template LoaderB<OperandB> b(operand_b, first_n, k_begin);
  constexpr int stages = Gemm::Shared::stages, tile_k = Gemm::Shared::tile.k;
  const int tiles = (k_end - k_begin + tile_k - 1) / tile_k;
  int read = 0;
#if CNNKERN_ARCH >= 800
  int write = 0;
  const auto copy_next = [&](int tile) {
    a.copy_async(shared.stage[write].a, tile < tiles);
    b.copy_async(shared.stage[write].b, tile < tiles);
    cp_async_commit();  // an empty group too, so that the count of groups is the count of tiles
    write = write + 1 == stages ? 0 : write + 1;
  };
#pragma unroll
  for (int tile = 0; tile < stages - 1; ++tile) copy_next(tile);
  for (int tile = 0; tile < tiles; ++tile) {
    cp_async_wait<stages - 2>();
    __syncthreads();  // this tile has arrived for all, and nobody reads the one before any more
    Gemm::multiply_tile(shared.stage[read], sums, [&] { copy_next(tile + stages - 1); });
    read = read + 1 == stages ? 0 : read + 1;
  }
#else
  if (tiles == 0) return;
  a.load(), b.load();
  a.store(shared.stage[0].a), b.store(shared.stage[0].b);
  __syncthreads();
  for (int tile = 0; tile < tiles; ++tile) {
    const bool more = tile + 1 < tiles;
    if (more) a.load(), b.load();
    Gemm::multiply_tile(shared.stage[read], sums, [] {});
    read = (read + 1) % stages;
    if (more) a.store(shared.stage[read].a), b.store(shared.stage[read].b);
    __syncthreads();
  }
#endif
}

template <int vector_, int tile_m, int tile_n, int tile_k, Major major_a_, Major major_b_>
struct SimtGemm {
  using Element = float;
  static constexpr int vector = vector_;
  static constexpr Major major_a = major_a_, major_b = major_b_;
  static constexpr int threads = simt_threads({tile_m, tile_n, tile_k});
  static constexpr int threads_m = 16, threads_n = threads / threads_m;
  static constexpr int thread_m = tile_m / threads_m, thread_n = tile_n / threads_n;
  static constexpr int slab = 4;
  /// Columns that are neighbours in memory and on 16 bytes, as the operand's rows are.
  static constexpr int together = major_b == Major::mn && vector == 4 ? 4 : 1;
  static_assert(tile_k % slab == 0 && thread_m % 4 == 0 && thread_n % 4 == 0);

  using Shared = SimtShared<float, tile_m, tile_n, tile_k>;
  using Accumulators = float[thread_m][thread_n];
  template <class Operand>
  using LoaderA = TileLoader<Operand, major_a, vector, tile_m, tile_k, threads>;
  template <class Operand>
  using LoaderB = TileLoader<Operand, major_b, vector, tile_n, tile_k, threads>;

  /// The tile's row of this thread's i-th sum, and the column of its j-th.
  __device__ __forceinline__ static int row(int i) {
    return place<major_a, tile_m, threads_m>(static_cast<int>(threadIdx.x) / threads_n, i);
  }
  __device__ __forceinline__ static int column(int j) {
    return place<major_b, tile_n, threads_n>(static_cast<int>(threadIdx.x) % threads_n, j);
  }

  /// Calls `between` after the first slab, where its arithmetic runs beside the FMAs. With single
  /// elements of both operands along the depth that would take more registers than there are.
  template <class Between>
  __device__ __forceinline__ static void multiply_tile(const typename Shared::Stage& stage,
                                                       Accumulators& sums, Between&& between) {
    constexpr bool crowded = vector == 1 && major_a == Major::k && major_b == Major::k;
#pragma unroll
    for (int k = 0; k < tile_k; k += slab) {
      if (k == (crowded ? 0 : slab)) between();
      float a[thread_m][slab];
      load_a(stage.a, k, a);
      if constexpr (major_b == Major::k) {
#pragma unroll
        for (int j = 0; j < thread_n; ++j) {
          const Four b = load_shared<Four>(stage.b + k_major_place<float, tile_k>(column(j), k));
#pragma unroll
          for (int kk = 0; kk < slab; ++kk)
#pragma unroll
            for (int i = 0; i < thread_m; ++i) sums[i][j] = fmaf(a[i][kk], b[kk], sums[i][j]);
        }
      } else {
#pragma unroll
        for (int kk = 0; kk < slab; ++kk)
#pragma unroll
          for (int j = 0; j < thread_n; j += 4) {
            const Four b = load_shared<Four>(stage.b + (k + kk) * tile_n + column(j));
#pragma unroll
            for (int i = 0; i < thread_m; ++i)
#pragma unroll
              for (int c = 0; c < 4; ++c) sums[i][j + c] = fmaf(a[i][kk], b[c], sums[i][j + c]);
          }
      }
    }
  }

 private:
  template <Major major, int tile_mn, int threads_mn>
  __device__ __forceinline__ static int place(int thread, int i) {
    constexpr int fours = tile_mn / threads_mn / 4;
    return major == Major::k ? thread + i * threads_mn
                             : i / 4 * (tile_mn / fours) + thread * 4 + i % 4;
  }

  using Four = Vector<float, 4>;

  // A slab of A: [i][kk] = A[row(i)][k + kk].
  __device__ __forceinline__ static void load_a(const float* a, int k,
                                                float (&slab_a)[thread_m][slab]) {
    if constexpr (major_a == Major::k) {
#pragma unroll
      for (int i = 0; i < thread_m; ++i) {
        const Four four = load_shared<Four>(a + k_major_place<float, tile_k>(row(i), k));
#pragma unroll
        for (int kk = 0; kk < slab; ++kk) slab_a[i][kk] = four[kk];
      }
    } else {
#pragma unroll
      for (int kk = 0; kk < slab; ++kk)
#pragma unroll
        for (int i = 0; i < thread_m; i += 4) {
          const Four four = load_shared<Four>(a + (k + kk) * tile_m + row(i));
#pragma unroll
          for (int r = 0; r < 4; ++r) slab_a[i + r][kk] = four[r];
        }
    }
  }
};

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
