// Forward convolution as an implicit GEMM on the FP32 units.
//
//   output[pixel, k] = activation(residual[pixel, k] + bias[k] +
//                      Σ over (c, t, r, s) of input[pixel seen through the tap] · weight[k, …])
//
// GEMM view of a group: rows = N·Z·P·Q pixels, columns = K/G filters, depth = C/G·T·R·S in the
// order in which the filter lies in memory, so B is a plain matrix with its depth contiguous. A is
// gathered (pixel_gather.cuh): along the depth in channels last, along the pixels in N C D H W.
// Tiling, shared memory and pipeline: implicit_gemm_simt.cuh. Grid: x = tiles, z = groups.
#include "cuda/conv/conv_launch.h"
#include "cuda/conv/epilogue.cuh"
#include "cuda/conv/pixel_gather.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

template <Layout layout>
struct FpropParams {
  InputWindows<layout> input;
  const float *weight, *bias;
  float* output;
  int c_per_group, k_per_group;
  int64_t k, output_volume;
  ConvBiasAct<float> finish;
};

/// A. Rows: output pixels. Depth: filter elements.
template <Layout layout>
struct GatheredInput {
  const InputWindows<layout>& windows;
  const float* base;  // the group's first channel

  __device__ __forceinline__ GatherPoint row(int pixel) const { return windows.pixel(pixel); }
  __device__ __forceinline__ GatherPoint depth(int element) const { return windows.tap(element); }
  __device__ __forceinline__ Access access(const GatherPoint& a, const GatherPoint& b) const {
    return windows.source.access(base, a, b);
  }
};

/// B. Rows: filters. Depth: filter elements, contiguous.
struct Filters {
  const float* weight;  // the group's first filter
  int filters, elements;

  __device__ __forceinline__ int row(int k) const { return k < filters ? k : -1; }
  __device__ __forceinline__ int depth(int element) const { return element; }
  __device__ __forceinline__ Access access(int k, int element) const {
    const bool valid = k >= 0 && element < elements;
    return {weight + (valid ? static_cast<int64_t>(k) * elements + element : 0), valid};
  }
};

template <Layout layout>
struct OutputPixels {
  const FpropParams<layout>& p;
  float* data;        // the group's first channel
  const float* bias;  // likewise, or null
  int columns;
  int64_t column_stride;

  /// Where the group begins in the whole tensor.
  __device__ __forceinline__ int64_t first() const { return data - p.output; }
  __device__ __forceinline__ int64_t row(int pixel) const {
    if (pixel >= p.input.pixels) return -1;
    if constexpr (layout == Layout::nhwc) return pixel * p.k;
    const int64_t image = p.input.windows.image(pixel), volume = p.output_volume;
    return image * p.k * volume + (pixel - image * volume);
  }
};

template <Layout layout, int vector, int m, int n, int k>
__global__ void __launch_bounds__(16 * (n / 8), 1) simt_fprop(FpropParams<layout> p) {
  using Gemm = SimtGemm<vector, m, n, k, layout == Layout::nhwc ? Major::k : Major::mn, Major::k>;
  CNNKERN_SHARED(typename Gemm::Shared, shared);
  const TilePosition tile(p.k_per_group, m, n);
  const int64_t group = blockIdx.z, first_k = group * p.k_per_group;
  const GatheredInput<layout> a{
      p.input, p.input.source.data + group * p.c_per_group * p.input.source.channel_stride};
  const Filters b{p.weight + first_k * p.input.elements, p.k_per_group, p.input.elements};

  typename Gemm::Accumulators sums = {};
  Gemm::multiply(shared, a, b, tile.m, tile.n, 0, p.input.elements, sums);

  const int64_t column_stride = layout == Layout::nhwc ? 1 : p.output_volume;
  const OutputPixels<layout> output{p, p.output + first_k * column_stride,
                                    p.bias ? p.bias + first_k : nullptr, p.k_per_group,
                                    column_stride};
  if (p.finish.active()) store_fused_tile<Gemm>(output, p.finish, tile.m, tile.n, sums);
  else store_tile<Gemm>(output, tile.m, tile.n, sums);
}

}  // namespace

template <Layout layout, int vector, int m, int n, int k>
void launch_simt_fprop(const ConvPlan& plan, const ConvProblem& problem, const ConvTensors& tensors,
                       cudaStream_t stream) {
  const FpropParams<layout> params{.input = {problem, tensors.input},
                                   .weight = static_cast<const float*>(tensors.weight),
                                   .bias = static_cast<const float*>(tensors.bias),
                                   .output = static_cast<float*>(tensors.output),
                                   .c_per_group = static_cast<int>(problem.c_per_group()),
                                   .k_per_group = static_cast<int>(problem.k_per_group()),
                                   .k = problem.k,
                                   .output_volume = problem.output.volume(),
                                   .finish = {problem, tensors}};
  CNNKERN_LAUNCH((simt_fprop<layout, vector, m, n, k>), grid_of(plan), dim3(plan.threads),
                 plan.shared_bytes, stream, params);
}

#define CNNKERN_SIMT_FPROP(layout, vector, m, n, k)                 \
  template void launch_simt_fprop<Layout::layout, vector, m, n, k>( \
      const ConvPlan&, const ConvProblem&, const ConvTensors&, cudaStream_t);
#include "cuda/conv/conv_kernels.inc"

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
