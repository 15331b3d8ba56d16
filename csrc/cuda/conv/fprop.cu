// Forward convolution as an implicit GEMM on the FP32 units, and in float64.
//
//   output[pixel, k] = activation(residual[pixel, k] + bias[k] +
//                      Σ over (c, t, r, s) of input[pixel seen through the tap] · weight[k, …])
//
// GEMM view of a group: rows = N·Z·P·Q pixels, columns = K/G filters, depth = C/G·T·R·S in the
// order in which the filter lies in memory, so B is a plain matrix with its depth contiguous. A is
// gathered (pixel_gather.cuh): along the depth in channels last, along the pixels in N C D H W.
// Tiling, shared memory and pipeline: implicit_gemm_simt.cuh, implicit_gemm_f64.cuh. Grid: x =
// tiles, z = groups.
#include "cuda/conv/conv_launch.h"
#include "cuda/conv/epilogue.cuh"
#include "cuda/conv/pixel_gather.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

template <class Element, Layout layout>
struct FpropParams {
  InputWindows<layout> windows;
  const Element *input, *weight, *bias;
  Element* output;
  int c_per_group, k_per_group;
  int64_t k, output_volume;
  ConvBiasAct<Element> finish;
};

/// A. Rows: output pixels. Depth: filter elements.
template <class Element_, Layout layout>
struct GatheredInput {
  using Element = Element_;
  const InputWindows<layout>& windows;
  const Element* base;  // the group's first channel

  __device__ __forceinline__ GatherPoint row(int pixel) const { return windows.pixel(pixel); }
  __device__ __forceinline__ GatherPoint depth(int element) const { return windows.tap(element); }
  __device__ __forceinline__ Access<Element> access(const GatherPoint& a,
                                                    const GatherPoint& b) const {
    return windows.source.access(base, a, b);
  }
};

/// B. Rows: filters. Depth: filter elements, contiguous.
template <class Element_>
struct Filters {
  using Element = Element_;
  const Element* weight;  // the group's first filter
  int filters, elements;

  __device__ __forceinline__ int row(int k) const { return k < filters ? k : -1; }
  __device__ __forceinline__ int depth(int element) const { return element; }
  __device__ __forceinline__ Access<Element> access(int k, int element) const {
    const bool valid = k >= 0 && element < elements;
    return {weight + (valid ? static_cast<int64_t>(k) * elements + element : 0), valid};
  }
};

template <class Element, Layout layout>
struct OutputPixels {
  const FpropParams<Element, layout>& p;
  Element* data;        // the group's first channel
  const Element* bias;  // likewise, or null
  int columns;
  int64_t column_stride;

  /// Where the group begins in the whole tensor.
  __device__ __forceinline__ int64_t first() const { return data - p.output; }
  __device__ __forceinline__ int64_t row(int pixel) const {
    if (pixel >= p.windows.pixels) return -1;
    if constexpr (layout == Layout::nhwc) return pixel * p.k;
    const int64_t image = p.windows.windows.image(pixel), volume = p.output_volume;
    return image * p.k * volume + (pixel - image * volume);
  }
};

template <class Element, Layout layout, int vector, int m, int n, int k>
__global__ void __launch_bounds__(16 * (n / 8), 1) gemm_fprop(FpropParams<Element, layout> p) {
  using Gemm =
      GatherGemm<Element, vector, m, n, k, layout == Layout::nhwc ? Major::k : Major::mn, Major::k>;
  CNNKERN_SHARED(typename Gemm::Shared, shared);
  const TilePosition tile(p.k_per_group, m, n);
  const int64_t group = blockIdx.z, first_k = group * p.k_per_group;
  const GatheredInput<Element, layout> a{
      p.windows, p.input + group * p.c_per_group * p.windows.source.channel_stride};
  const Filters<Element> b{p.weight + first_k * p.windows.elements, p.k_per_group,
                           p.windows.elements};

  typename Gemm::Accumulators sums = {};
  multiply_tiles<Gemm>(shared, a, b, tile.m, tile.n, 0, p.windows.elements, sums);

  const int64_t column_stride = layout == Layout::nhwc ? 1 : p.output_volume;
  const OutputPixels<Element, layout> output{p, p.output + first_k * column_stride,
                                             p.bias ? p.bias + first_k : nullptr, p.k_per_group,
                                             column_stride};
  if (p.finish.active()) store_fused_tile<Gemm>(output, p.finish, tile.m, tile.n, sums);
  else store_tile<Gemm>(output, tile.m, tile.n, sums);
}

}  // namespace

template <class Element, Layout layout, int vector, int m, int n, int k>
void launch_gemm_fprop(const ConvPlan& plan, const ConvProblem& problem, const ConvTensors& tensors,
                       cudaStream_t stream) {
  const FpropParams<Element, layout> params{.windows = InputWindows<layout>(problem),
                                            .input = static_cast<const Element*>(tensors.input),
                                            .weight = static_cast<const Element*>(tensors.weight),
                                            .bias = static_cast<const Element*>(tensors.bias),
                                            .output = static_cast<Element*>(tensors.output),
                                            .c_per_group = static_cast<int>(problem.c_per_group()),
                                            .k_per_group = static_cast<int>(problem.k_per_group()),
                                            .k = problem.k,
                                            .output_volume = problem.output.volume(),
                                            .finish = {problem, tensors}};
  CNNKERN_LAUNCH((gemm_fprop<Element, layout, vector, m, n, k>), grid_of(plan), dim3(plan.threads),
                 plan.shared_bytes, stream, params);
}

#define CNNKERN_SIMT_FPROP(layout, vector, m, n, k)                        \
  template void launch_gemm_fprop<float, Layout::layout, vector, m, n, k>( \
      const ConvPlan&, const ConvProblem&, const ConvTensors&, cudaStream_t);
#define CNNKERN_F64_FPROP(layout, vector, m, n, k)                          \
  template void launch_gemm_fprop<double, Layout::layout, vector, m, n, k>( \
      const ConvPlan&, const ConvProblem&, const ConvTensors&, cudaStream_t);
#include "cuda/conv/conv_kernels.inc"

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
