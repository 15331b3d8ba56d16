// Weight gradient as an implicit GEMM on the FP32 units, and in float64, its depth split over
// blocks.
//
//   weight[k, (c, t, r, s)] = Σ over output pixels of output[pixel, k] · input[pixel seen through
//   the tap]
//
// GEMM view of a group: rows = K/G filters, columns = C/G·T·R·S filter elements in memory order,
// depth = N·Z·P·Q pixels. In channels last both operands run along their rows, in N C D H W along
// the depth, so neither is transposed. Few tiles and a long depth: the plan may split the depth
// (grid y); each part writes its sums to the workspace and split_k_reduce.cu adds them in
// order. Tiling, shared memory and pipeline: implicit_gemm_simt.cuh, implicit_gemm_f64.cuh. Grid:
// x = tiles, y = parts, z = groups.
#include "cuda/conv/conv_launch.h"
#include "cuda/conv/epilogue.cuh"
#include "cuda/conv/pixel_gather.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

template <class Element, Layout layout>
struct WgradParams {
  InputWindows<layout> windows;
  const Element *input, *output;
  Element* weight;  // or the workspace: one weight tensor for each part
  int c_per_group, k_per_group, depth_per_part;
  int64_t k, output_volume, weight_elements;
};

/// A. Rows: filters. Depth: output pixels.
template <class Element_, Layout layout>
struct OutputGradient {
  using Element = Element_;
  const WgradParams<Element, layout>& p;
  const Element* base;  // the group's first channel

  __device__ __forceinline__ int64_t row(int k) const {
    if (k >= p.k_per_group) return -1;
    return layout == Layout::nhwc ? k : k * p.output_volume;
  }

  __device__ __forceinline__ int64_t depth(int pixel) const {
    if constexpr (layout == Layout::nhwc) return pixel < p.windows.pixels ? pixel * p.k : -1;
    const int64_t image = p.windows.windows.image(pixel), volume = p.output_volume;
    return pixel < p.windows.pixels ? image * p.k * volume + (pixel - image * volume) : -1;
  }

  __device__ __forceinline__ Access<Element> access(int64_t row, int64_t depth) const {
    const bool valid = row >= 0 && depth >= 0;
    return {base + (valid ? row + depth : 0), valid};
  }
};

/// B. Rows: filter elements. Depth: output pixels.
template <class Element_, Layout layout>
struct GatheredInput {
  using Element = Element_;
  const InputWindows<layout>& windows;
  const Element* base;  // the group's first channel

  __device__ __forceinline__ GatherPoint row(int element) const { return windows.tap(element); }
  __device__ __forceinline__ GatherPoint depth(int pixel) const { return windows.pixel(pixel); }
  __device__ __forceinline__ Access<Element> access(const GatherPoint& a,
                                                    const GatherPoint& b) const {
    return windows.source.access(base, a, b);
  }
};

template <class Element>
struct WeightRows {
  Element* data;  // the group's first filter, in this part's tensor
  int rows, columns;
  static constexpr int64_t column_stride = 1;
  static constexpr const Element* bias = nullptr;

  __device__ __forceinline__ int64_t row(int k) const {
    return k < rows ? static_cast<int64_t>(k) * columns : -1;
  }
};

template <class Element, Layout layout, int vector, int m, int n, int k>
__global__ void __launch_bounds__(16 * (n / 8), 1) gemm_wgrad(WgradParams<Element, layout> p) {
  constexpr Major major = layout == Layout::nhwc ? Major::mn : Major::k;
  using Gemm = GatherGemm<Element, vector, m, n, k, major, major>;
  CNNKERN_SHARED(typename Gemm::Shared, shared);
  const int elements = p.windows.elements;
  const TilePosition tile(elements, m, n);
  const int64_t part = blockIdx.y, group = blockIdx.z, first_k = group * p.k_per_group;
  const int64_t first_pixel = part * p.depth_per_part;
  const int end_pixel =
      static_cast<int>(min(first_pixel + p.depth_per_part, static_cast<int64_t>(p.windows.pixels)));
  const OutputGradient<Element, layout> a{
      p, p.output + first_k * (layout == Layout::nhwc ? 1 : p.output_volume)};
  const GatheredInput<Element, layout> b{
      p.windows, p.input + group * p.c_per_group * p.windows.source.channel_stride};

  typename Gemm::Accumulators sums = {};
  multiply_tiles<Gemm>(shared, a, b, tile.m, tile.n, static_cast<int>(first_pixel), end_pixel,
                       sums);

  Element* weight = p.weight + part * p.weight_elements + first_k * elements;
  store_tile<Gemm>(WeightRows<Element>{weight, p.k_per_group, elements}, tile.m, tile.n, sums);
}

}  // namespace

template <class Element, Layout layout, int vector, int m, int n, int k>
void launch_gemm_wgrad(const ConvPlan& plan, const ConvProblem& problem, const ConvTensors& tensors,
                       cudaStream_t stream) {
  const bool split = plan.split_k > 1;
  const int64_t pixels = problem.n * problem.output.volume();
  const int64_t pixels_per_part = (pixels + plan.split_k - 1) / plan.split_k;
  const WgradParams<Element, layout> params{
      .windows = InputWindows<layout>(problem),
      .input = static_cast<const Element*>(tensors.input),
      .output = static_cast<const Element*>(tensors.output),
      .weight = static_cast<Element*>(split ? tensors.workspace : tensors.weight),
      .c_per_group = static_cast<int>(problem.c_per_group()),
      .k_per_group = static_cast<int>(problem.k_per_group()),
      .depth_per_part = static_cast<int>((pixels_per_part + k - 1) / k * k),
      .k = problem.k,
      .output_volume = problem.output.volume(),
      .weight_elements = problem.weight_elements()};
  CNNKERN_LAUNCH((gemm_wgrad<Element, layout, vector, m, n, k>), grid_of(plan), dim3(plan.threads),
                 plan.shared_bytes, stream, params);
  if (split)
    launch_split_k_reduce(params.weight, static_cast<Element*>(tensors.weight),
                          problem.weight_elements(), plan.split_k, stream);
}

#define CNNKERN_SIMT_WGRAD(layout, vector, m, n, k)                        \
  template void launch_gemm_wgrad<float, Layout::layout, vector, m, n, k>( \
      const ConvPlan&, const ConvProblem&, const ConvTensors&, cudaStream_t);
#define CNNKERN_F64_WGRAD(layout, vector, m, n, k)                          \
  template void launch_gemm_wgrad<double, Layout::layout, vector, m, n, k>( \
      const ConvPlan&, const ConvProblem&, const ConvTensors&, cudaStream_t);
#include "cuda/conv/conv_kernels.inc"

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
