// Implicit GEMM in float64: on the tensor cores from sm_80 on, before on the FP64 units.
//
// A block of 16 × (n/8) threads computes an m × n tile of the result, k of the depth at a time; a
// warp 32 × 32 of it, in 4 × 4 blocks of the mma's 8 × 8. Each step of 4 depths a lane reads one
// double of every block's row and column from shared memory, for 16 mmas of 16 cycles each on an
// sm_80: long enough to hide those loads, so the fragments have no second set. Without an mma a
// lane adds up the same sums, two neighbours in a row of each block, with FMAs.
//   Major::k    [mn][k]: four lanes read neighbouring depths, eight rows at a time
//   Major::mn   [k][mn]: eight lanes read neighbouring rows, four depths at a time
// both without bank conflicts (tile_loader.cuh). Shared memory and pipeline:
// implicit_gemm_simt.cuh. Source: PTX ISA, "mma.m8n8k4"; CUTLASS's "tensor op" for double.
#pragma once

#include "cuda/conv/implicit_gemm_simt.cuh"
#include "cuda/primitives/mma.cuh"
#include "cuda/primitives/warp.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

template <int vector_, int tile_m, int tile_n, int tile_k, Major major_a_, Major major_b_>
struct F64Gemm {
  using Element = double;
  static constexpr int vector = vector_, together = vector;
  static constexpr Major major_a = major_a_, major_b = major_b_;
  static constexpr int threads = simt_threads({tile_m, tile_n, tile_k});
  static constexpr int warp_m = 32, warp_n = 32, warps_n = tile_n / warp_n;
  static constexpr int blocks_m = warp_m / 8, blocks_n = warp_n / 8, depths = 4;
  static constexpr int thread_m = blocks_m, thread_n = 2 * blocks_n;
  static_assert(tile_m / warp_m * warps_n * 32 == threads && tile_k % depths == 0);

  using Shared = SimtShared<double, tile_m, tile_n, tile_k>;
  using Accumulators = double[thread_m][thread_n];
  template <class Operand>
  using LoaderA = TileLoader<Operand, major_a, vector, tile_m, tile_k, threads>;
  template <class Operand>
  using LoaderB = TileLoader<Operand, major_b, vector, tile_n, tile_k, threads>;

  /// The tile's row of this thread's i-th sum, and the column of its j-th.
  __device__ __forceinline__ static int row(int i) { return warp_row() + 8 * i + lane_index() / 4; }
  __device__ __forceinline__ static int column(int j) {
    return warp_column() + 8 * (j / 2) + lane_index() % 4 * 2 + j % 2;
  }

  /// Calls `between` after the first step, where its arithmetic runs beside the products.
  template <class Between>
  __device__ __forceinline__ static void multiply_tile(const typename Shared::Stage& stage,
                                                       Accumulators& sums, Between&& between) {
#pragma unroll
    for (int k = 0; k < tile_k; k += depths) {
      if (k == depths) between();
#if CNNKERN_ARCH >= 800
      using Mma = Mma8x8x4F64;
      const int line = lane_index() / 4, depth = k + lane_index() % 4;
      typename Mma::A a[blocks_m];
      typename Mma::B b[blocks_n];
#pragma unroll
      for (int i = 0; i < blocks_m; ++i)
        a[i][0] = load<major_a, tile_m>(stage.a, warp_row() + 8 * i + line, depth);
#pragma unroll
      for (int j = 0; j < blocks_n; ++j)
        b[j][0] = load<major_b, tile_n>(stage.b, warp_column() + 8 * j + line, depth);
#pragma unroll
      for (int i = 0; i < blocks_m; ++i)
#pragma unroll
        for (int j = 0; j < blocks_n; ++j) {
          double& first = sums[i][2 * j];
          double& second = sums[i][2 * j + 1];
          const typename Mma::C sum = mma<Mma>(a[i], b[j], {first, second});
          first = sum[0], second = sum[1];
        }
#else
#pragma unroll
      for (int depth = k; depth < k + depths; ++depth) {
        double a[thread_m];
#pragma unroll
        for (int i = 0; i < thread_m; ++i) a[i] = load<major_a, tile_m>(stage.a, row(i), depth);
#pragma unroll
        for (int j = 0; j < thread_n; ++j) {
          const double b = load<major_b, tile_n>(stage.b, column(j), depth);
#pragma unroll
          for (int i = 0; i < thread_m; ++i) sums[i][j] = fma(a[i], b, sums[i][j]);
        }
      }
#endif
    }
  }

 private:
  __device__ __forceinline__ static int warp_row() { return warp_index() / warps_n * warp_m; }
  __device__ __forceinline__ static int warp_column() { return warp_index() % warps_n * warp_n; }

  template <Major major, int tile_mn>
  __device__ __forceinline__ static double load(const double* tile, int mn, int depth) {
    return load_shared<double>(tile + (major == Major::k
                                           ? k_major_place<double, tile_k>(mn, depth)
                                           : mn_major_place<double, tile_mn>(depth, mn)));
  }
};

/// The tiled kernel of these elements.
template <class Element, int vector, int m, int n, int k, Major major_a, Major major_b>
using GatherGemm =
    std::conditional_t<std::is_same_v<Element, double>, F64Gemm<vector, m, n, k, major_a, major_b>,
                       SimtGemm<vector, m, n, k, major_a, major_b>>;

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
