// Input gradient as an implicit GEMM on the tensor cores, float16, bfloat16 and, rounded to tf32
// or as the sum of two, float in channels last, without a wasted product for any stride.
//
//   input[pixel, c] = bias[c] + Σ over (t, r, s, k) of output[where tap reads pixel, k] ·
//                     weight[k, t, r, s, c]
//
// A block works on one class of pixels, whose taps are dense again (dgrad.cu tells the idea; grid
// y), and walks through them as fprop does (tap_walk.cuh), backwards through the output. GEMM view
// of a group and class: rows = the class's pixels, columns = C/G, depth = the class's taps × K/G
// filters, in blocks. A runs along its depth, B along its columns: the filter is read as it
// lies. A class without a tap stores zeros, plus the bias.
// Tiling, shared memory and pipeline: implicit_gemm_mma.cuh. Grid: x = tiles, y = classes, z =
// groups.
#include "cuda/conv/conv_launch.h"
#include "cuda/conv/mma_epilogue.cuh"
#include "cuda/conv/stride_class.cuh"
#include "cuda/conv/tap_walk.cuh"
#include "cuda/conv/tile_position.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

template <class Element>
struct DgradMmaParams {
  StrideAxis d, h, w;
  PixelSplitter classes, class_pixels;
  Index3 input_extent, output_extent, filter_extent;
  const Element *output, *weight, *bias;
  Element* input;
  int class_rows, c_per_group, k_per_group, filter_elements;
  int64_t c, k;
  bool one_class;  // stride 1: its rows are the input's pixels, in their order
  bool pointwise;  // of one tap besides, and no padding: they are the output's too
};

/// The class of this block.
template <class Element>
struct PixelClass {
  const DgradMmaParams<Element>& p;
  AxisClass d, h, w;

  __device__ __forceinline__ static PixelClass of_block(const DgradMmaParams<Element>& p) {
    Index3 remainder;
    p.classes.split(static_cast<int>(blockIdx.y), remainder);
    return {p, {p.d, remainder.d}, {p.h, remainder.h}, {p.w, remainder.w}};
  }

  __device__ __forceinline__ Index3 taps() const { return {d.taps, h.taps, w.taps}; }

  /// From one of the class's taps to the next along each axis.
  __device__ __forceinline__ Index3 step() const {
    return {-p.d.output_step, -p.h.output_step, -p.w.output_step};
  }

  __device__ __forceinline__ TapPlan walk(int tile_k) const {
    const int k = static_cast<int>(p.k), along_h = p.output_extent.w * k;
    const int filter_h = p.filter_extent.w * p.c_per_group;
    const TapAxes steps{
        {step().d * p.output_extent.h * along_h, p.d.tap_step * p.filter_extent.h * filter_h},
        {step().h * along_h, p.h.tap_step * filter_h},
        {step().w * k, p.w.tap_step * p.c_per_group}};
    return TapPlan(taps(), steps, p.k_per_group, tile_k, {tile_k, tile_k * p.filter_elements});
  }

  /// The group's first filter at the class's first tap.
  __device__ __forceinline__ const Element* first_filter(int group) const {
    const int64_t tap =
        (int64_t{d.first_tap} * p.filter_extent.h + h.first_tap) * p.filter_extent.w + w.first_tap;
    return p.weight + int64_t{group} * p.k_per_group * p.filter_elements + tap * p.c_per_group;
  }

  /// Splits a row into the image (returned), the class's pixel, and the input pixel; false if there
  /// is none: the class's rows are rounded up to those of the largest.
  __device__ __forceinline__ bool split(int row, int64_t& image, Index3& at, Index3& pixel) const {
    image = p.class_pixels.split(row, at);
    pixel = {at.d * p.d.stride + d.remainder, at.h * p.h.stride + h.remainder,
             at.w * p.w.stride + w.remainder};
    return row < p.class_rows && pixel.d < p.input_extent.d && pixel.h < p.input_extent.h &&
           pixel.w < p.input_extent.w;
  }
};

template <class Element, class Gemm>
struct GradientsAndFilters {
  TapWalk walk;
  PixelLines<typename Gemm::LoaderA::Tile, Gemm::threads> gradients;
  FilterLines<typename Gemm::LoaderB::Tile, Gemm::threads> filters;
  bool column_exists;

  __device__ __forceinline__ GradientsAndFilters(const PixelClass<Element>& pixels,
                                                 const TapPlan& plan, int group, int first_row,
                                                 int first_c)
      : walk{plan},
        gradients([&](int line, const Element*& from, unsigned& taps) {
          const auto& p = pixels.p;
          from = p.output + int64_t{group} * p.k_per_group, taps = 0;
          if (p.pointwise) {
            from += (first_row + line) * p.k, taps = first_row + line < p.class_rows;
            return;
          }
          int64_t image;
          Index3 at, pixel;
          if (!pixels.split(first_row + line, image, at, pixel)) return;
          const Index3 extent = p.output_extent;
          const Index3 corner{at.d + pixels.d.shift, at.h + pixels.h.shift, at.w + pixels.w.shift};
          from +=
              (((image * extent.d + corner.d) * extent.h + corner.h) * extent.w + corner.w) * p.k;
          taps = taps_inside(corner, pixels.taps(), pixels.step(), extent);
        }),
        filters(pixels.first_filter(group) + first_c, pixels.p.filter_elements),
        column_exists(first_c + filters.element() < pixels.p.c_per_group) {}

  __device__ __forceinline__ void copy(typename Gemm::Stage& stage) {
    const int channels = walk.channels();
    gradients.copy(stage.a, gradients.element() < channels ? walk.tap : 0);
    filters.copy(stage.b, column_exists ? channels : 0);
    const TapStep step = walk.next();
    gradients.move(step.pixels);
    filters.move(step.filter);
  }
  __device__ __forceinline__ void land(typename Gemm::Stage& stage) const {
    gradients.land(stage.a);
    filters.land(stage.b);
  }
};

template <class Element>
struct DgradMmaOutput {
  const PixelClass<Element>& pixels;
  Element* data;        // the group's first channel
  const Element* bias;  // likewise, or null
  int columns;
  static constexpr bool aligned = true;

  __device__ __forceinline__ bool plain() const { return pixels.p.one_class; }
  __device__ __forceinline__ int rows() const { return pixels.p.class_rows; }
  __device__ __forceinline__ int64_t pitch() const { return pixels.p.c; }

  __device__ __forceinline__ int64_t row(int m) const {
    int64_t image;
    Index3 at, pixel;
    if (!pixels.split(m, image, at, pixel)) return -1;
    const Index3 extent = pixels.p.input_extent;
    return (((image * extent.d + pixel.d) * extent.h + pixel.h) * extent.w + pixel.w) * pixels.p.c;
  }

  __device__ __forceinline__ void finish(int64_t, const Columns<Element>&,
                                         float (&)[chunk<Element>]) const {}
};

template <class Element, int m, int n, int k>
__global__ void __launch_bounds__((mma_block<Element, m, n>), 1)
    mma_dgrad([[maybe_unused]] const DgradMmaParams<Element> p) {
  if constexpr (has_mma_of<Element>) {
    using Gemm = MmaGemm<Element, m, n, k, Major::k, Major::mn>;
    CNNKERN_SHARED(typename Gemm::Shared, shared);
    const TilePosition tile(p.c_per_group, m, n);
    const int group = static_cast<int>(blockIdx.z);
    const auto pixels = PixelClass<Element>::of_block(p);
    const TapPlan plan = pixels.walk(k);

    typename Gemm::Sums sums = {};
    if (plan.all != 0) {
      GradientsAndFilters<Element, Gemm> source(pixels, plan, group, tile.m, tile.n);
      const Index3 taps = pixels.taps();
      Gemm::multiply(shared, source, plan.blocks * taps.d * taps.h * taps.w, sums);
    }

    const int64_t first_c = int64_t{group} * p.c_per_group;
    const DgradMmaOutput<Element> input{pixels, p.input + first_c,
                                        p.bias ? p.bias + first_c : nullptr, p.c_per_group};
    store_sums<Gemm>(shared, input, tile.m, tile.n, sums);
  }
}

}  // namespace

template <class Element, int m, int n, int k>
void launch_mma_dgrad(const ConvPlan& plan, const ConvProblem& problem, const ConvTensors& tensors,
                      cudaStream_t stream) {
  const Extent3 class_pixels = pixels_of_a_class(problem);
  const DgradMmaParams<Element> params{
      .d = stride_axis(problem, 0),
      .h = stride_axis(problem, 1),
      .w = stride_axis(problem, 2),
      .classes = splitter(stride_classes(problem)),
      .class_pixels = splitter(class_pixels),
      .input_extent = narrow(problem.input),
      .output_extent = narrow(problem.output),
      .filter_extent = narrow(problem.filter),
      .output = static_cast<const Element*>(tensors.output),
      .weight = static_cast<const Element*>(tensors.weight),
      .bias = static_cast<const Element*>(tensors.bias),
      .input = static_cast<Element*>(tensors.input),
      .class_rows = static_cast<int>(problem.n * class_pixels.volume()),
      .c_per_group = static_cast<int>(problem.c_per_group()),
      .k_per_group = static_cast<int>(problem.k_per_group()),
      .filter_elements = static_cast<int>(problem.c_per_group() * problem.filter.volume()),
      .c = problem.c,
      .k = problem.k,
      .one_class = problem.unit_stride(),
      .pointwise = problem.pointwise()};
  CNNKERN_LAUNCH((mma_dgrad<Element, m, n, k>), grid_of(plan), dim3(plan.threads),
                 plan.shared_bytes, stream, params);
}

#define CNNKERN_MMA_DGRAD(dtype, type, m, n, k)                                      \
  template void launch_mma_dgrad<type, m, n, k>(const ConvPlan&, const ConvProblem&, \
                                                const ConvTensors&, cudaStream_t);
#include "cuda/conv/conv_kernels.inc"

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
