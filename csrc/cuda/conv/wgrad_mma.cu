// Weight gradient as an implicit GEMM on the tensor cores, its depth split over blocks.
//
//   weight[k, (t, r, s, c)] = Σ over output pixels of output[pixel, k] · input[pixel seen through
//   the tap, c]
//
// GEMM view of a group: rows = K/G filters, columns = T·R·S·C/G filter elements in memory order,
// depth = N·Z·P·Q pixels; float16 and bfloat16 in channels last, sums in float.
// Tiling: a block makes m × n weights, a warp 64 × 64 or 64 × 32 of them by mma.m16n8k16, 32
// pixels at a time. Shared memory: a ring of three stages, each 32 rows of m and 32 rows of n
// elements, filled two tiles ahead by 16-byte cp.async and read by transposing ldmatrix
// (wgrad_mma_loader.cuh); the fragments of 16 pixels are loaded while those before are multiplied.
// One barrier a tile. Grid: x = tiles, y = parts of the depth (as in wgrad.cu), z = groups.
// Source: the multistage GEMM of CUTLASS 2 (A. Kerr et al., "Implicit GEMM convolution").
#include "cuda/conv/conv_launch.h"
#include "cuda/conv/implicit_gemm_simt.cuh"
#include "cuda/conv/wgrad_mma_loader.cuh"
#include "cuda/primitives/ldmatrix.cuh"
#include "cuda/primitives/mma.cuh"
#include "cuda/primitives/warp.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

template <class Element, int dims>
struct WgradMmaParams {
  InputWindows<Layout::nhwc> windows;
  WindowSteps<dims> steps;
  const Element *input, *output;
  Element* weight;
  float* parts;  // if not null: one weight tensor for each part of the depth, instead of weight
  int c_per_group, k_per_group, depth_per_part;
  int64_t k, weight_elements;
};

template <class Element>
using Mma16 = std::conditional_t<std::is_same_v<Element, float16>, Mma16x8x16F16, Mma16x8x16Bf16>;

#if CNNKERN_ARCH == 0 || CNNKERN_ARCH >= 800

template <class Element, int m, int n, int k>
struct WgradMma {
  using Mma = Mma16<Element>;
  static constexpr int stages = mma_stages;
  static constexpr int warp_m = 64, warp_n = mma_warp_n({m, n, k});
  static constexpr int threads = mma_threads({m, n, k});
  static constexpr int rows = warp_m / Mma::m, columns = warp_n / Mma::n, steps = k / Mma::k;
  using RowsA = ChunkRows<k, m, threads>;
  using RowsB = ChunkRows<k, n, threads>;

  struct Shared {
    struct Stage {
      Element a[k * m], b[k * n];
    };
    Stage stage[stages];
    static_assert(sizeof(Stage) * stages == mma_shared_bytes({m, n, k}));
  };

  struct Fragments {
    typename Mma::A a[rows];
    typename Mma::B b[columns];
  };

  // A warp's place in the tile, and where this lane's rows of the first step's ldmatrix begin.
  int warp_row, warp_column;
  int offset_a[rows], offset_b[columns / 2];

  __device__ __forceinline__ WgradMma() {
    const int lane = lane_index(), warp = warp_index(), matrix = lane / 8, row = lane % 8;
    warp_row = warp / (n / warp_n) * warp_m;
    warp_column = warp % (n / warp_n) * warp_n;
    const int chunk_a = (warp_row / 8 + matrix % 2) ^ row;
    const int chunk_b = (warp_column / 8 + matrix / 2) ^ row;
#pragma unroll
    for (int i = 0; i < rows; ++i)
      offset_a[i] = (row + matrix / 2 * 8) * m + (chunk_a ^ (2 * i)) * 8;
#pragma unroll
    for (int j = 0; j < columns / 2; ++j)
      offset_b[j] = (row + matrix % 2 * 8) * n + (chunk_b ^ (2 * j)) * 8;
  }

  __device__ __forceinline__ void load(const typename Shared::Stage& stage, int step,
                                       Fragments& to) const {
#pragma unroll
    for (int i = 0; i < rows; ++i)
      to.a[i] = ldmatrix_transposed<4>(stage.a + offset_a[i] + step * Mma::k * m);
#pragma unroll
    for (int j = 0; j < columns / 2; ++j) {
      const auto two = ldmatrix_transposed<4>(stage.b + offset_b[j] + step * Mma::k * n);
      to.b[2 * j] = {two[0], two[1]};
      to.b[2 * j + 1] = {two[2], two[3]};
    }
  }

  __device__ __forceinline__ static void multiply(const Fragments& f,
                                                  typename Mma::C (&sums)[rows][columns]) {
#pragma unroll
    for (int i = 0; i < rows; ++i)
#pragma unroll
      for (int j = 0; j < columns; ++j) {
        const int zigzag = i % 2 ? columns - 1 - j : j;
        sums[i][zigzag] = mma<Mma>(f.a[i], f.b[zigzag], sums[i][zigzag]);
      }
  }
};

/// Four lanes of a row hold two neighbours of each of four 8-wide tiles; afterwards the t-th lane
/// holds the eight of tile t: 16 bytes. A transposition by two exchanges.
__device__ __forceinline__ void transpose_quad(unsigned (&pairs)[4]) {
#pragma unroll
  for (int bit = 1; bit <= 2; bit *= 2) {
    const bool upper = lane_index() & bit;
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if ((i & bit) == 0) {
        const unsigned got = shuffle_xor(full_warp, upper ? pairs[i] : pairs[i + bit], bit);
        (upper ? pairs[i] : pairs[i + bit]) = got;
      }
  }
}

/// A warp's rows and columns of the result: float parts, or rounded weights in 16-byte stores.
template <class Gemm, class Element, int dims, class Sums>
__device__ __forceinline__ void store_sums(const WgradMmaParams<Element, dims>& p, int first_row,
                                           int first_column, const Sums& sums) {
  const int quad = lane_index() / 4, t = lane_index() % 4, columns = p.windows.elements;
  const int64_t group_row = int64_t{blockIdx.z} * p.k_per_group;
#pragma unroll
  for (int i = 0; i < 2 * Gemm::rows; ++i) {
    const int k = first_row + i * 8 + quad;
    const int64_t row = (group_row + k) * columns;
    const auto two = [&](int j) { return &sums[i / 2][j][i % 2 * 2]; };
    if (p.parts != nullptr) {
      float* part = p.parts + blockIdx.y * p.weight_elements + row;
#pragma unroll
      for (int j = 0; j < Gemm::columns; ++j) {
        const int column = first_column + j * 8 + 2 * t;
        if (k < p.k_per_group && column < columns)
          store_global(part + column, Vector<float, 2>{two(j)[0], two(j)[1]});
      }
      continue;
    }
#pragma unroll
    for (int j = 0; j < Gemm::columns; j += 4) {
      unsigned pairs[4];
#pragma unroll
      for (int c = 0; c < 4; ++c)
        pairs[c] = std::bit_cast<unsigned>(
            Vector<Element, 2>{Element(two(j + c)[0]), Element(two(j + c)[1])});
      transpose_quad(pairs);
      const int column = first_column + (j + t) * 8;
      if (k < p.k_per_group && column < columns)
        store_global(p.weight + row + column,
                     Vector<unsigned, 4>{pairs[0], pairs[1], pairs[2], pairs[3]});
    }
  }
}

#endif

template <class Element, int m, int n, int k, int dims>
__global__ void __launch_bounds__(32 * (m / 64) * (n / (m == 128 && n == 128 ? 64 : 32)))
    mma_wgrad([[maybe_unused]] const WgradMmaParams<Element, dims> p) {
#if CNNKERN_ARCH == 0 || CNNKERN_ARCH >= 800
  using Gemm = WgradMma<Element, m, n, k>;
  CNNKERN_SHARED(typename Gemm::Shared, shared);
  constexpr int stages = Gemm::stages;
  const TilePosition tile(p.windows.elements, m, n);
  const int64_t part = blockIdx.y, group = blockIdx.z;
  const int64_t first_pixel = part * p.depth_per_part;
  const int count =
      static_cast<int>(min(int64_t{p.depth_per_part}, p.windows.pixels - first_pixel));
  GradientLoader<Element, typename Gemm::RowsA> a(
      p.output + first_pixel * p.k + group * p.k_per_group, p.k, tile.m, p.k_per_group, count);
  WindowLoader<Element, typename Gemm::RowsB, dims> b(p.windows, p.steps,
                                                      p.input + group * p.c_per_group, tile.n,
                                                      static_cast<int>(first_pixel), count);
  const Gemm gemm;
  typename Gemm::Mma::C sums[Gemm::rows][Gemm::columns] = {};
  typename Gemm::Fragments fragments[2];

  int read = 0;
  const auto copy_next = [&](typename Gemm::Shared::Stage& stage) {
    a.copy_async(stage.a);
    b.copy_async(stage.b);
    cp_async_commit();
  };
#pragma unroll
  for (int stage = 0; stage < stages; ++stage) copy_next(shared.stage[stage]);
  cp_async_wait<stages - 1>();
  __syncthreads();
  gemm.load(shared.stage[0], 0, fragments[0]);
  const int tiles = (count + k - 1) / k;
#pragma unroll 1
  for (int t = 0; t < tiles; ++t) {
#pragma unroll
    for (int step = 0; step + 1 < Gemm::steps; ++step) {
      gemm.load(shared.stage[read], step + 1, fragments[(step + 1) % 2]);
      Gemm::multiply(fragments[step % 2], sums);
    }
    cp_async_wait<stages - 2>();
    __syncthreads();  // the next tile has arrived for all, and nobody reads this one any more
    const int next = read + 1 == stages ? 0 : read + 1;
    gemm.load(shared.stage[next], 0, fragments[Gemm::steps % 2]);
    copy_next(shared.stage[read]);
    Gemm::multiply(fragments[(Gemm::steps - 1) % 2], sums);
    read = next;
  }
  cp_async_wait<0>();
  store_sums<Gemm>(p, tile.m + gemm.warp_row, tile.n + gemm.warp_column, sums);
#endif
}

template <class Element, int m, int n, int k, int dims>
void launch(const ConvPlan& plan, const ConvProblem& problem, const ConvTensors& tensors,
            cudaStream_t stream) {
  const int64_t pixels = problem.n * problem.output.volume();
  const int64_t pixels_per_part = (pixels + plan.split_k - 1) / plan.split_k;
  auto* weight = static_cast<Element*>(tensors.weight);
  auto* parts = plan.split_k > 1 ? static_cast<float*>(tensors.workspace) : nullptr;
  const WgradMmaParams<Element, dims> params{
      .windows = {problem, tensors.input},
      .steps = {problem, ChunkRows<k, n, mma_threads({m, n, k})>::step},
      .input = static_cast<const Element*>(tensors.input),
      .output = static_cast<const Element*>(tensors.output),
      .weight = weight,
      .parts = parts,
      .c_per_group = static_cast<int>(problem.c_per_group()),
      .k_per_group = static_cast<int>(problem.k_per_group()),
      .depth_per_part = static_cast<int>((pixels_per_part + k - 1) / k * k),
      .k = problem.k,
      .weight_elements = problem.weight_elements()};
  CNNKERN_LAUNCH((mma_wgrad<Element, m, n, k, dims>), grid_of(plan), dim3(plan.threads),
                 plan.shared_bytes, stream, params);
  if (parts != nullptr)
    launch_split_k_reduce(parts, weight, problem.weight_elements(), plan.split_k, stream);
}

}  // namespace

template <class Element, int m, int n, int k>
void launch_mma_wgrad(const ConvPlan& plan, const ConvProblem& problem, const ConvTensors& tensors,
                      cudaStream_t stream) {
  if (problem.planar()) launch<Element, m, n, k, 2>(plan, problem, tensors, stream);
  else launch<Element, m, n, k, 3>(plan, problem, tensors, stream);
}

#define CNNKERN_MMA_WGRAD(dtype, type, m, n, k)                                      \
  template void launch_mma_wgrad<type, m, n, k>(const ConvPlan&, const ConvProblem&, \
                                                const ConvTensors&, cudaStream_t);
#include "cuda/conv/conv_kernels.inc"

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
