// Weight gradient as an implicit GEMM on the tensor cores, float16, bfloat16 and, rounded to tf32
// or as the sum of two, float, its depth split over blocks.
//
//   weight[k, (t, r, s, c)] = Σ over output pixels of output[pixel, k] · input[pixel seen through
//   the tap, c]
//
// GEMM view of a group: rows = K/G filters, columns = T·R·S·C/G filter elements in memory order,
// depth = N·Z·P·Q pixels. Both operands run along their rows and columns, and are transposed on
// their way into registers. Few tiles and a long depth: the plan may split the depth, as in
// wgrad.cu; a part is stored in float. Tiling, shared memory and pipeline: implicit_gemm_mma.cuh;
// the way of the operands: wgrad_mma_loader.cuh. Grid: x = tiles, y = parts, z = groups.
#include "cuda/conv/conv_launch.h"
#include "cuda/conv/mma_epilogue.cuh"
#include "cuda/conv/tile_position.cuh"
#include "cuda/conv/wgrad_mma_loader.cuh"

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

/// Both operands, tile by tile.
template <class Element, class Gemm, int dims>
struct GradientAndWindows {
  GradientLoader<Element, ChunkRows<typename Gemm::LoaderA::Tile, Gemm::threads>> gradient;
  WindowLoader<Element, ChunkRows<typename Gemm::LoaderB::Tile, Gemm::threads>, dims> windows;

  __device__ __forceinline__ void copy(typename Gemm::Stage& stage) {
    gradient.copy(stage.a);
    windows.copy(stage.b);
  }
  __device__ __forceinline__ void land(typename Gemm::Stage& stage) const {
    gradient.land(stage.a);
    windows.land(stage.b);
  }
};

/// The weights, rounded; or one part of them, in float.
template <class Element, int dims>
struct Weights {
  const WgradMmaParams<Element, dims>& p;
  Element* data;
  int columns;
  static constexpr const Element* bias = nullptr;
  static constexpr bool aligned = true;  // C/G is a multiple of a chunk

  __device__ __forceinline__ static constexpr bool plain() { return true; }
  __device__ __forceinline__ int rows() const { return p.k_per_group; }
  __device__ __forceinline__ int64_t pitch() const { return columns; }
  __device__ __forceinline__ int64_t row(int k) const { return k < rows() ? k * pitch() : -1; }
  __device__ __forceinline__ void finish(int64_t, const Columns<Element>&,
                                         float (&)[chunk<Element>]) const {}
};

/// Four lanes hold 32 bytes of a row: they store them as they are.
template <class Gemm>
__device__ __forceinline__ void store_part(float* part, int rows, int columns, int first_m,
                                           int first_n, const typename Gemm::Sums& sums) {
  const int quad = lane_index() / 4, pair = lane_index() % 4 * 2;
#pragma unroll
  for (int i = 0; i < Gemm::warp_m / 8; ++i) {
    const int row = first_m + Gemm::warp_row() + i * 8 + quad;
#pragma unroll
    for (int j = 0; j < Gemm::warp_n / 8; ++j) {
      const int column = first_n + Gemm::warp_column() + j * 8 + pair;
      const auto& four = sums[i / 2][j];
      if (row < rows && column < columns)
        store_global(part + static_cast<int64_t>(row) * columns + column,
                     Vector<float, 2>{four[i % 2 * 2], four[i % 2 * 2 + 1]});
    }
  }
}

template <class Element, int m, int n, int k, int dims>
__global__ void __launch_bounds__((mma_block<Element, m, n>), 1)
    mma_wgrad([[maybe_unused]] const WgradMmaParams<Element, dims> p) {
  if constexpr (has_mma_of<Element>) {
    using Gemm = MmaGemm<Element, m, n, k, Major::mn, Major::mn>;
    CNNKERN_SHARED(typename Gemm::Shared, shared);
    const int columns = p.windows.elements;
    const TilePosition tile(columns, m, n);
    const int64_t part = blockIdx.y, group = blockIdx.z;
    const int64_t first_pixel = part * p.depth_per_part;
    const int count =
        static_cast<int>(min(int64_t{p.depth_per_part}, p.windows.pixels - first_pixel));
    GradientAndWindows<Element, Gemm, dims> source{
        {p.output + first_pixel * p.k + group * p.k_per_group, p.k, tile.m, p.k_per_group, count},
        {p.windows, p.steps, p.input + group * p.c_per_group, tile.n, static_cast<int>(first_pixel),
         count}};

    typename Gemm::Sums sums = {};
    Gemm::multiply(shared, source, (count + k - 1) / k, sums);

    const int64_t first_weight = group * p.k_per_group * columns;
    if (p.parts != nullptr)
      store_part<Gemm>(p.parts + part * p.weight_elements + first_weight, p.k_per_group, columns,
                       tile.m, tile.n, sums);
    else
      store_sums<Gemm>(shared, Weights<Element, dims>{p, p.weight + first_weight, columns}, tile.m,
                       tile.n, sums);
  }
}

template <class Element, int m, int n, int k, int dims>
void launch(const ConvPlan& plan, const ConvProblem& problem, const ConvTensors& tensors,
            cudaStream_t stream) {
  using RowsOfWindows = ChunkRows<SwizzledTile<Element, Major::mn, n, k>, mma_block<Element, m, n>>;
  const int64_t pixels = problem.n * problem.output.volume();
  const int64_t pixels_per_part = (pixels + plan.split_k - 1) / plan.split_k;
  using Stored = std::conditional_t<std::is_same_v<Element, tf32x3>, float, Element>;
  auto* parts = plan.split_k > 1 ? static_cast<float*>(tensors.workspace) : nullptr;
  const WgradMmaParams<Element, dims> params{
      .windows = InputWindows<Layout::nhwc>(problem),
      .steps = {problem, RowsOfWindows::step},
      .input = static_cast<const Element*>(tensors.input),
      .output = static_cast<const Element*>(tensors.output),
      .weight = static_cast<Element*>(tensors.weight),
      .parts = parts,
      .c_per_group = static_cast<int>(problem.c_per_group()),
      .k_per_group = static_cast<int>(problem.k_per_group()),
      .depth_per_part = static_cast<int>((pixels_per_part + k - 1) / k * k),
      .k = problem.k,
      .weight_elements = problem.weight_elements()};
  CNNKERN_LAUNCH((mma_wgrad<Element, m, n, k, dims>), grid_of(plan), dim3(plan.threads),
                 plan.shared_bytes, stream, params);
  if (parts != nullptr)
    launch_split_k_reduce(parts, static_cast<Stored*>(tensors.weight), problem.weight_elements(),
                          plan.split_k, stream);
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
