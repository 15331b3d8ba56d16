// Input gradient as an implicit GEMM on the FP32 units, and in float64, without a wasted product
// for any stride.
//
//   input[pixel, c] = bias[c] + Σ over (k, t, r, s) of output[where tap reads pixel, k] · weight[k,
//   c, …]
//
// With stride u a tap reaches an input pixel only if it agrees with it modulo u, so pixels are
// sorted into classes of equal remainder (per axis: h = h'·u + a) and a block works on one class
// (grid y). Along an axis the class's taps are r = first + i·step, i < count, with step = u /
// gcd(u, dilation), and tap i reads output coordinate h' + shift − i·(dilation / gcd): a dense
// gather again (pixel_gather.cuh). A class without a tap has depth 0 and stores zeros, plus the
// bias. GEMM view of a group and class: rows = the class's pixels, columns = C/G, depth = K/G ·
// taps. Tiling, shared memory and pipeline: implicit_gemm_simt.cuh, implicit_gemm_f64.cuh. Grid: x
// = tiles, y = classes, z = groups.
#include "cuda/conv/conv_launch.h"
#include "cuda/conv/epilogue.cuh"
#include "cuda/conv/pixel_gather.cuh"
#include "cuda/conv/stride_class.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

template <class Element, Layout layout>
struct DgradParams {
  GatherSource source;
  StrideAxis d, h, w;
  PixelSplitter classes, class_pixels;
  FastDivmod k_per_group_divmod;
  Index3 input_extent, filter_extent;
  const Element *output, *weight, *bias;
  Element* input;
  int class_rows, c_per_group, k_per_group;
  int64_t c, input_volume, filter_elements;
};

/// The class of this block.
template <class Element, Layout layout>
struct StrideClass {
  const DgradParams<Element, layout>& p;
  AxisClass d, h, w;
  TapSplitter<layout> filter;
  int depth;

  __device__ __forceinline__ static StrideClass of_block(const DgradParams<Element, layout>& p) {
    Index3 remainder;
    p.classes.split(static_cast<int>(blockIdx.y), remainder);
    const AxisClass d(p.d, remainder.d), h(p.h, remainder.h), w(p.w, remainder.w);
    return {p,
            d,
            h,
            w,
            {p.k_per_group_divmod, {d.divmod(p.d), h.divmod(p.h), w.divmod(p.w)}},
            p.k_per_group * d.taps * h.taps * w.taps};
  }

  /// Splits a row into the image (returned), the class's pixel, and the input pixel.
  __device__ __forceinline__ int split(int row, Index3& at, Index3& pixel) const {
    const int image = p.class_pixels.split(row, at);
    pixel = {at.d * p.d.stride + d.remainder, at.h * p.h.stride + h.remainder,
             at.w * p.w.stride + w.remainder};
    return image;
  }

  /// The class's rows are rounded up to those of the largest class.
  __device__ __forceinline__ bool contains(int row, Index3 pixel) const {
    return row < p.class_rows && pixel.d < p.input_extent.d && pixel.h < p.input_extent.h &&
           pixel.w < p.input_extent.w;
  }
};

/// A. Rows: the class's pixels. Depth: filters × the class's taps.
template <class Element_, Layout layout>
struct GatheredOutput {
  using Element = Element_;
  const StrideClass<Element, layout>& pixels;
  const Element* base;  // the group's first channel

  __device__ __forceinline__ GatherPoint row(int m) const {
    Index3 at, pixel;
    const int image = pixels.split(m, at, pixel);
    if (!pixels.contains(m, pixel)) return GatherSource::outside();
    return pixels.p.source.point(
        image, 0, {at.d + pixels.d.shift, at.h + pixels.h.shift, at.w + pixels.w.shift});
  }

  __device__ __forceinline__ GatherPoint depth(int index) const {
    Index3 tap;
    const int k = pixels.filter.split(index, tap);
    return pixels.p.source
        .point(0, k,
               {-tap.d * pixels.p.d.output_step, -tap.h * pixels.p.h.output_step,
                -tap.w * pixels.p.w.output_step})
        .only_if(index < pixels.depth);
  }

  __device__ __forceinline__ Access<Element> access(const GatherPoint& a,
                                                    const GatherPoint& b) const {
    return pixels.p.source.access(base, a, b);
  }
};

/// B. Rows: channels. Depth: filters × the class's taps.
template <class Element_, Layout layout>
struct FilterTaps {
  using Element = Element_;
  const StrideClass<Element, layout>& pixels;
  const Element* base;  // the group's first filter

  __device__ __forceinline__ int64_t row(int c) const {
    const auto& p = pixels.p;
    if (c >= p.c_per_group) return -1;
    return layout == Layout::nhwc ? c : c * (p.filter_elements / p.c_per_group);
  }

  __device__ __forceinline__ int64_t depth(int index) const {
    const auto& p = pixels.p;
    Index3 tap;
    const int k = pixels.filter.split(index, tap);
    const int t = pixels.d.first_tap + tap.d * p.d.tap_step;
    const int r = pixels.h.first_tap + tap.h * p.h.tap_step;
    const int s = pixels.w.first_tap + tap.w * p.w.tap_step;
    // In channels last the filters' taps follow each other: fewer than 2³¹, as the depth.
    constexpr bool channels_last = layout == Layout::nhwc;
    const int position =
        (((channels_last ? k * p.filter_extent.d : 0) + t) * p.filter_extent.h + r) *
            p.filter_extent.w +
        s;
    const int64_t offset = channels_last ? static_cast<int64_t>(position) * p.c_per_group
                                         : k * p.filter_elements + position;
    return index < pixels.depth ? offset : -1;
  }

  __device__ __forceinline__ Access<Element> access(int64_t row, int64_t depth) const {
    const bool valid = row >= 0 && depth >= 0;
    return {base + (valid ? row + depth : 0), valid};
  }
};

template <class Element, Layout layout>
struct InputPixels {
  const StrideClass<Element, layout>& pixels;
  Element* data;        // the group's first channel
  const Element* bias;  // likewise, or null
  int columns;
  int64_t column_stride;

  __device__ __forceinline__ int64_t row(int m) const {
    Index3 at, pixel;
    const int64_t image = pixels.split(m, at, pixel);
    if (!pixels.contains(m, pixel)) return -1;
    const auto& p = pixels.p;
    const int64_t position =
        (static_cast<int64_t>(pixel.d) * p.input_extent.h + pixel.h) * p.input_extent.w + pixel.w;
    return image * p.c * p.input_volume + position * (layout == Layout::nhwc ? p.c : 1);
  }
};

template <class Element, Layout layout, int vector, int m, int n, int k>
__global__ void __launch_bounds__(16 * (n / 8), 1) gemm_dgrad(DgradParams<Element, layout> p) {
  constexpr bool channels_last = layout == Layout::nhwc;
  using Gemm = GatherGemm<Element, vector, m, n, k, channels_last ? Major::k : Major::mn,
                          channels_last ? Major::mn : Major::k>;
  CNNKERN_SHARED(typename Gemm::Shared, shared);
  const TilePosition tile(p.c_per_group, m, n);
  const int64_t group = blockIdx.z, first_k = group * p.k_per_group,
                first_c = group * p.c_per_group;
  const auto pixels = StrideClass<Element, layout>::of_block(p);
  const GatheredOutput<Element, layout> a{pixels, p.output + first_k * p.source.channel_stride};
  const FilterTaps<Element, layout> b{pixels, p.weight + first_k * p.filter_elements};

  typename Gemm::Accumulators sums = {};
  multiply_tiles<Gemm>(shared, a, b, tile.m, tile.n, 0, pixels.depth, sums);

  const int64_t column_stride = channels_last ? 1 : p.input_volume;
  const InputPixels<Element, layout> input{pixels, p.input + first_c * column_stride,
                                           p.bias ? p.bias + first_c : nullptr, p.c_per_group,
                                           column_stride};
  store_tile<Gemm>(input, tile.m, tile.n, sums);
}

}  // namespace

template <class Element, Layout layout, int vector, int m, int n, int k>
void launch_gemm_dgrad(const ConvPlan& plan, const ConvProblem& problem, const ConvTensors& tensors,
                       cudaStream_t stream) {
  const Extent3 class_pixels = pixels_of_a_class(problem);
  const DgradParams<Element, layout> params{
      .source = gather_source(layout, problem.k, problem.output),
      .d = stride_axis(problem, 0),
      .h = stride_axis(problem, 1),
      .w = stride_axis(problem, 2),
      .classes = splitter(stride_classes(problem)),
      .class_pixels = splitter(class_pixels),
      .k_per_group_divmod = FastDivmod(problem.k_per_group()),
      .input_extent = narrow(problem.input),
      .filter_extent = narrow(problem.filter),
      .output = static_cast<const Element*>(tensors.output),
      .weight = static_cast<const Element*>(tensors.weight),
      .bias = static_cast<const Element*>(tensors.bias),
      .input = static_cast<Element*>(tensors.input),
      .class_rows = static_cast<int>(problem.n * class_pixels.volume()),
      .c_per_group = static_cast<int>(problem.c_per_group()),
      .k_per_group = static_cast<int>(problem.k_per_group()),
      .c = problem.c,
      .input_volume = problem.input.volume(),
      .filter_elements = problem.c_per_group() * problem.filter.volume()};
  CNNKERN_LAUNCH((gemm_dgrad<Element, layout, vector, m, n, k>), grid_of(plan), dim3(plan.threads),
                 plan.shared_bytes, stream, params);
}

#define CNNKERN_SIMT_DGRAD(layout, vector, m, n, k)                        \
  template void launch_gemm_dgrad<float, Layout::layout, vector, m, n, k>( \
      const ConvPlan&, const ConvProblem&, const ConvTensors&, cudaStream_t);
#define CNNKERN_F64_DGRAD(layout, vector, m, n, k)                          \
  template void launch_gemm_dgrad<double, Layout::layout, vector, m, n, k>( \
      const ConvPlan&, const ConvProblem&, const ConvTensors&, cudaStream_t);
#include "cuda/conv/conv_kernels.inc"

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
