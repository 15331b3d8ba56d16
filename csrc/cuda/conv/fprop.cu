// Forward convolution as an implicit GEMM on the FP32 units.
//
//   output[pixel, k] = bias[k] + Σ over (c, t, r, s) of input[pixel seen through the tap] · weight[k, …]
//
// GEMM view of a group: rows = N·Z·P·Q pixels, columns = K/G filters, depth = C/G·T·R·S in the order
// in which the filter lies in memory, so B is a plain matrix with its depth contiguous. A is gathered
// (pixel_gather.cuh): along the depth in channels last, along the pixels in N C D H W. Tiling, shared
// memory and pipeline: implicit_gemm_simt.cuh. Grid: x = tiles, z = groups.
#include "cuda/conv/conv_launch.h"
#include "cuda/conv/epilogue.cuh"
#include "cuda/conv/pixel_gather.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

template <Layout layout>
struct FpropParams {
  GatherSource input;
  PixelSplitter windows;
  TapSplitter<layout> filter;
  Index3 stride, dilation, pad;
  const float *weight, *bias;
  float* output;
  int pixels, c_per_group, k_per_group, depth;
  int64_t k, output_volume;
};

/// Rows: windows (output pixels). Depth: filter elements.
template <Layout layout>
struct InputOperand {
  const FpropParams<layout>& p;
  GatherSource source;  // starts at the group's first channel

  __device__ __forceinline__ GatherPoint row(int pixel) const {
    if (pixel >= p.pixels) return GatherSource::outside();
    Index3 at;
    const int image = p.windows.split(pixel, at);
    return source.point(image, 0,
                        {at.d * p.stride.d - p.pad.d, at.h * p.stride.h - p.pad.h,
                         at.w * p.stride.w - p.pad.w});
  }

  __device__ __forceinline__ GatherPoint depth(int k) const {
    if (k >= p.depth) return GatherSource::outside();
    Index3 tap;
    const int channel = p.filter.split(k, tap);
    return source.point(
        0, channel, {tap.d * p.dilation.d, tap.h * p.dilation.h, tap.w * p.dilation.w});
  }

  __device__ __forceinline__ Access access(const GatherPoint& a, const GatherPoint& b) const {
    return source.access(a, b);
  }
};

/// Rows: filters. Depth: filter elements, contiguous.
struct FilterOperand {
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
  float* data;
  const float* bias;
  int columns;
  int64_t column_stride;

  __device__ __forceinline__ int64_t row(int pixel) const {
    if (pixel >= p.pixels) return -1;
    if constexpr (layout == Layout::nhwc) return pixel * p.k;
    const int64_t image = p.windows.image(pixel), volume = p.output_volume;
    return image * p.k * volume + (pixel - image * volume);
  }
};

template <Layout layout, int vector, int m, int n, int k>
__global__ void __launch_bounds__(simt_threads({m, n, k})) simt_fprop(FpropParams<layout> p) {
  constexpr Major major_a = layout == Layout::nhwc ? Major::k : Major::mn;
  using Gemm = SimtGemm<vector, m, n, k, major_a, Major::k>;
  CNNKERN_SHARED(typename Gemm::Shared, shared);
  const TilePosition tile(p.k_per_group, m, n);
  const int64_t first_k = static_cast<int64_t>(blockIdx.z) * p.k_per_group;
  GatherSource source = p.input;
  source.data += static_cast<int64_t>(blockIdx.z) * p.c_per_group * source.channel_stride;

  typename Gemm::Accumulators sums = {};
  Gemm::multiply(shared, InputOperand<layout>{p, source},
                 FilterOperand{p.weight + first_k * p.depth, p.k_per_group, p.depth}, tile.m,
                 tile.n, 0, p.depth, sums);
  const int64_t column_stride = layout == Layout::nhwc ? 1 : p.output_volume;
  store_tile<Gemm>(OutputPixels<layout>{p, p.output + first_k * column_stride,
                                        p.bias ? p.bias + first_k : nullptr, p.k_per_group,
                                        column_stride},
                   tile.m, tile.n, sums);
}

}  // namespace

template <Layout layout, int vector, int m, int n, int k>
void launch_simt_fprop(const ConvPlan& plan, const ConvProblem& problem,
                       const ConvTensors& tensors, cudaStream_t stream) {
  const FpropParams<layout> params{
      .input = gather_source(tensors.input, layout, problem.c, problem.input),
      .windows = splitter(problem.output),
      .filter = {FastDivmod(problem.c_per_group()), splitter(problem.filter)},
      .stride = narrow(problem.stride),
      .dilation = narrow(problem.dilation),
      .pad = narrow(problem.pad_begin),
      .weight = static_cast<const float*>(tensors.weight),
      .bias = static_cast<const float*>(tensors.bias),
      .output = static_cast<float*>(tensors.output),
      .pixels = static_cast<int>(problem.n * problem.output.volume()),
      .c_per_group = static_cast<int>(problem.c_per_group()),
      .k_per_group = static_cast<int>(problem.k_per_group()),
      .depth = static_cast<int>(problem.c_per_group() * problem.filter.volume()),
      .k = problem.k,
      .output_volume = problem.output.volume()};
  const dim3 grid(plan.grid[0], 1, plan.grid[2]);
  CNNKERN_LAUNCH((simt_fprop<layout, vector, m, n, k>), grid, dim3(plan.threads),
                 plan.shared_bytes, stream, params);
}

#define CNNKERN_SIMT_FPROP(layout, vector, m, n, k)             \
  template void launch_simt_fprop<Layout::layout, vector, m, n, k>( \
      const ConvPlan&, const ConvProblem&, const ConvTensors&, cudaStream_t);
#include "cuda/conv/conv_kernels.inc"

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
