// Forward convolution as an implicit GEMM on the tensor cores, float16, bfloat16 and, rounded to
// tf32 or as the sum of two, float in channels last.
//
//   output[pixel, k] = activation(residual[pixel, k] + bias[k] +
//                      Σ over (t, r, s, c) of input[pixel seen through the tap, c] · weight[k, …])
//
// GEMM view of a group: rows = N·Z·P·Q pixels, columns = K/G filters, depth = T·R·S taps × C/G
// channels, a tap's channels in blocks (tap_walk.cuh). Both operands run along their depth.
// Filters of more taps than a walk may have are walked through in several parts, some rows each.
// Tiling, shared memory and pipeline: implicit_gemm_mma.cuh. Grid: x = tiles, z = groups.
#include "cuda/conv/conv_launch.h"
#include "cuda/conv/conv_plan_mma.h"
#include "cuda/conv/fprop_mma_output.cuh"
#include "cuda/conv/tap_walk.cuh"
#include "cuda/conv/tile_position.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

template <class Element>
struct FpropMmaParams {
  TapPlan walk;
  PixelSplitter windows;
  Index3 taps, extent, stride, dilation, pad;  // taps of one walk
  int filter_rows, row_elements;               // of the filter: all its rows; from one to the next
  const Element *input, *weight, *bias;
  Element* output;
  int pixels, c_per_group, k_per_group, filter_elements;
  int64_t c, k;
  bool pointwise;  // one tap, no stride, no padding: the output's pixels are the input's
  bool aligned;
  ConvBiasAct<Element> finish;
};

template <class Element, class Gemm>
struct WindowsAndFilters {
  TapWalk walk;
  PixelLines<typename Gemm::LoaderA::Tile, Gemm::threads> windows;
  FilterLines<typename Gemm::LoaderB::Tile, Gemm::threads> filters;
  int filters_left;

  __device__ __forceinline__ WindowsAndFilters(const FpropMmaParams<Element>& p, int group,
                                               int first_pixel, int first_k, int first_row)
      : walk{p.walk},
        windows([&](int line, const Element*& from, unsigned& taps) {
          from = p.input + int64_t{group} * p.c_per_group, taps = 0;
          if (first_pixel + line >= p.pixels) return;
          if (p.pointwise) {
            from += (first_pixel + line) * p.c, taps = 1;
            return;
          }
          Index3 corner;
          const int64_t image = p.windows.split(first_pixel + line, corner);
          corner = {corner.d * p.stride.d - p.pad.d,
                    corner.h * p.stride.h - p.pad.h + first_row * p.dilation.h,
                    corner.w * p.stride.w - p.pad.w};
          from +=
              (((image * p.extent.d + corner.d) * p.extent.h + corner.h) * p.extent.w + corner.w) *
              p.c;
          taps = taps_inside(corner, p.taps, p.dilation, p.extent);
        }),
        filters(p.weight + (int64_t{group} * p.k_per_group + first_k) * p.filter_elements +
                    first_row * p.row_elements,
                p.filter_elements),
        filters_left(p.k_per_group - first_k) {}

  __device__ __forceinline__ void copy(typename Gemm::Stage& stage) {
    const bool exists = windows.element() < walk.channels();
    windows.copy(stage.a, exists ? walk.tap : 0);
    filters.copy(stage.b, exists ? filters_left : 0);
    const TapStep step = walk.next();
    windows.move(step.pixels);
    filters.move(step.filter);
  }
  __device__ __forceinline__ void land(typename Gemm::Stage& stage) const {
    windows.land(stage.a);
    filters.land(stage.b);
  }
};

/// Blocks that a multiprocessor is to hold: where the loop is short, others hide how long a block
/// takes to begin and to end. The registers of 128 × 64 suffice for a third (sm_120 would spill,
/// and so would split operands, with twice the warps).
template <class Element, int m, int n>
constexpr int blocks =
    m == 128 && n == 64 && CNNKERN_ARCH < 1200 && !std::is_same_v<Element, tf32x3> ? 3 : 1;

template <class Element, int m, int n, int k>
__global__ void __launch_bounds__((mma_block<Element, m, n>), (blocks<Element, m, n>))
    mma_fprop([[maybe_unused]] const FpropMmaParams<Element> p) {
  if constexpr (has_mma_of<Element>) {
    using Gemm = MmaGemm<Element, m, n, k, Major::k, Major::k>;
    CNNKERN_SHARED(typename Gemm::Shared, shared);
    const TilePosition tile(p.k_per_group, m, n);
    const int group = static_cast<int>(blockIdx.z);

    typename Gemm::Sums sums = {};
#pragma unroll 1
    for (int row = 0; row < p.filter_rows; row += p.taps.h) {
      WindowsAndFilters<Element, Gemm> source(p, group, tile.m, tile.n, row);
      Gemm::multiply(shared, source, p.walk.blocks * p.taps.d * p.taps.h * p.taps.w, sums);
    }

    const int64_t first_k = int64_t{group} * p.k_per_group;
    const FpropMmaOutput<Element, FpropMmaParams<Element>> output{
        p, p.output + first_k, p.bias ? p.bias + first_k : nullptr, p.k_per_group, p.aligned};
    store_sums<Gemm>(shared, output, tile.m, tile.n, sums);
  }
}

}  // namespace

template <class Element, int m, int n, int k>
void launch_mma_fprop(const ConvPlan& plan, const ConvProblem& problem, const ConvTensors& tensors,
                      cudaStream_t stream) {
  const Index3 filter = narrow(problem.filter), extent = narrow(problem.input),
               dilation = narrow(problem.dilation);
  const int c = static_cast<int>(problem.c), c_per_group = static_cast<int>(problem.c_per_group());
  Index3 taps = filter;  // as many rows as a walk may have, and as often the same
  while (taps.d * taps.h * taps.w > max_walk_taps || filter.h % taps.h != 0) --taps.h;
  const TapAxes steps{
      .d = {dilation.d * extent.h * extent.w * c, filter.h * filter.w * c_per_group},
      .h = {dilation.h * extent.w * c, filter.w * c_per_group},
      .w = {dilation.w * c, c_per_group}};
  const FpropMmaParams<Element> params{
      .walk = TapPlan(taps, steps, c_per_group, k, {k, k}),
      .windows = splitter(problem.output),
      .taps = taps,
      .extent = extent,
      .stride = narrow(problem.stride),
      .dilation = dilation,
      .pad = narrow(problem.pad_begin),
      .filter_rows = filter.h,
      .row_elements = filter.w * c_per_group,
      .input = static_cast<const Element*>(tensors.input),
      .weight = static_cast<const Element*>(tensors.weight),
      .bias = static_cast<const Element*>(tensors.bias),
      .output = static_cast<Element*>(tensors.output),
      .pixels = static_cast<int>(problem.n * problem.output.volume()),
      .c_per_group = c_per_group,
      .k_per_group = static_cast<int>(problem.k_per_group()),
      .filter_elements = static_cast<int>(c_per_group * problem.filter.volume()),
      .c = problem.c,
      .k = problem.k,
      .pointwise = problem.pointwise(),
      .aligned = problem.k_per_group() % chunk<Element> == 0,
      .finish = {problem, tensors}};
  CNNKERN_LAUNCH((mma_fprop<Element, m, n, k>), grid_of(plan), dim3(plan.threads),
                 plan.shared_bytes, stream, params);
}

#define CNNKERN_MMA_FPROP(dtype, type, m, n, k)                                      \
  template void launch_mma_fprop<type, m, n, k>(const ConvPlan&, const ConvProblem&, \
                                                const ConvTensors&, cudaStream_t);
#include "cuda/conv/conv_kernels.inc"

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
