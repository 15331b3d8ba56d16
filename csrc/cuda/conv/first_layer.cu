// A network's first convolution on the tensor cores: images of at most four channels in channels
// last, float16 and bfloat16.
//
//   output[pixel, k] = activation(residual[pixel, k] + bias[k] +
//                      Σ over (r, s, c) of input[pixel seen through the tap, c] · weight[k, r, s,
//                      c])
//
// GEMM view: rows = N·P·Q pixels, columns = K filters, depth = R·S·C without a gap between taps, so
// that of 7×7×3 = 147 depths, which take 160, 92 % are of use. In a row of the filter the S·C
// values that a window sees are neighbours in the image too. They begin at any address, so elements
// are loaded singly, by depth: its row of the filter and its place in there are found once for all
// of a thread's pixels. Eight of them make a chunk and wait in registers, on every architecture
// (mma_pipeline.cuh). Tiling and shared memory: implicit_gemm_mma.cuh. Grid: x = tiles.
#include "cuda/conv/conv_launch.h"
#include "cuda/conv/fprop_mma_output.cuh"
#include "cuda/conv/tap_walk.cuh"
#include "cuda/conv/tile_position.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

template <class Element>
struct FirstLayerParams {
  PixelSplitter windows;
  FastDivmod row;                        // depths in a row of the filter: S·C
  int depth, rows, row_length;           // R·S·C; of an image: H, and W·C elements
  int row_step, step;                    // from one row of the filter to the next: rows, elements
  int stride_h, stride_w, pad_h, pad_w;  // along w in elements
  const Element *input, *weight, *bias;
  Element* output;
  int pixels;
  int64_t k;
  bool aligned;
  ConvBiasAct<Element> finish;
};

/// A thread's chunks of an operand, made of single elements.
template <class Tile, int threads>
struct GatheredLines : ThreadLines<Tile, threads> {
  using Lines = ThreadLines<Tile, threads>;
  using Element = typename Tile::Element;
  Vector<Element, chunk<Element>> chunks[Lines::count];

  __device__ __forceinline__ void gather(int i, int j, const Element* from, bool valid) {
    chunks[i][j] = load_global_or_zero<Element>(from, valid);
  }
  __device__ __forceinline__ void land(Tile& tile) const {
#pragma unroll
    for (int i = 0; i < Lines::count; ++i) store_shared(tile.data + this->place(i), chunks[i]);
  }
};

template <class Element, class Gemm>
class ImageAndFilters {
  using Pixels = GatheredLines<typename Gemm::LoaderA::Tile, Gemm::threads>;
  using Filters = GatheredLines<typename Gemm::LoaderB::Tile, Gemm::threads>;

 public:
  __device__ __forceinline__ ImageAndFilters(const FirstLayerParams<Element>& p, int first_pixel,
                                             int first_k)
      : p_(p), depth_(pixels_.element()) {
#pragma unroll
    for (int i = 0; i < Pixels::count; ++i) {
      // Past the last pixel its window again: nothing of it is stored.
      Index3 at;
      const int64_t image = p.windows.split(min(first_pixel + pixels_.line(i), p.pixels - 1), at);
      const int h = at.h * p.stride_h - p.pad_h, w = at.w * p.stride_w - p.pad_w;
      windows_[i] = p.input + (image * p.rows + h) * p.row_length + w;
      h_[i] = h, w_[i] = w;
    }
#pragma unroll
    for (int i = 0; i < Filters::count; ++i) {
      const int k = first_k + filters_.line(i);
      filter_[i] = p.weight + int64_t{k} * p.depth;
      depths_[i] = k < p.k ? p.depth : 0;
    }
  }

  __device__ __forceinline__ void copy(typename Gemm::Stage&) {
#pragma unroll
    for (int j = 0; j < chunk<Element>; ++j) {
      const int depth = depth_ + j;
      int along;
      const int row = p_.row.divmod(depth, along);
      const int down = depth < p_.depth ? row * p_.row_step : far_outside;
      const int offset = row * p_.step + along;
#pragma unroll
      for (int i = 0; i < Pixels::count; ++i) {
        const bool inside =
            static_cast<unsigned>(h_[i] + down) < static_cast<unsigned>(p_.rows) &&
            static_cast<unsigned>(w_[i] + along) < static_cast<unsigned>(p_.row_length);
        pixels_.gather(i, j, windows_[i] + offset, inside);
      }
#pragma unroll
      for (int i = 0; i < Filters::count; ++i)
        filters_.gather(i, j, filter_[i] + depth, depth < depths_[i]);
    }
    depth_ += Gemm::tile_k;
  }

  __device__ __forceinline__ void land(typename Gemm::Stage& stage) const {
    pixels_.land(stage.a);
    filters_.land(stage.b);
  }

 private:
  const FirstLayerParams<Element>& p_;
  Pixels pixels_;
  Filters filters_;
  int depth_;  // of the chunks' first elements
  const Element *windows_[Pixels::count], *filter_[Filters::count];
  int h_[Pixels::count], w_[Pixels::count];  // the windows' corners, along w in elements
  int depths_[Filters::count];               // none past the last filter
};

template <class Element, int m, int n, int k>
__global__ void __launch_bounds__(32 * (m / 64) * (n / (m >= 128 && n >= 128 ? 64 : 32)), 1)
    first_layer([[maybe_unused]] const FirstLayerParams<Element> p) {
  if constexpr (has_mma_of<Element>) {
    using Gemm = MmaGemm<Element, m, n, k, Major::k, Major::k>;
    CNNKERN_SHARED(typename Gemm::Shared, shared);
    const int filters = static_cast<int>(p.k);
    const TilePosition tile(filters, m, n);
    ImageAndFilters<Element, Gemm> source(p, tile.m, tile.n);

    typename Gemm::Sums sums = {};
    Gemm::template multiply<RegisterPipeline>(shared, source, (p.depth + k - 1) / k, sums);

    const FpropMmaOutput<Element, FirstLayerParams<Element>> output{p, p.output, p.bias, filters,
                                                                    p.aligned};
    store_sums<Gemm>(shared, output, tile.m, tile.n, sums);
  }
}

bool on_16_bytes(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

}  // namespace

template <class Element, int m, int n, int k>
void launch_first_layer(const ConvPlan& plan, const ConvProblem& problem,
                        const ConvTensors& tensors, cudaStream_t stream) {
  const int c = static_cast<int>(problem.c), row_length = static_cast<int>(problem.input.w) * c;
  const Index3 filter = narrow(problem.filter), stride = narrow(problem.stride);
  const int row_step = static_cast<int>(problem.dilation.h);
  const FirstLayerParams<Element> params{
      .windows = splitter(problem.output),
      .row = FastDivmod(filter.w * c),
      .depth = filter.h * filter.w * c,
      .rows = static_cast<int>(problem.input.h),
      .row_length = row_length,
      .row_step = row_step,
      .step = row_step * row_length,
      .stride_h = stride.h,
      .stride_w = stride.w * c,
      .pad_h = static_cast<int>(problem.pad_begin.h),
      .pad_w = static_cast<int>(problem.pad_begin.w) * c,
      .input = static_cast<const Element*>(tensors.input),
      .weight = static_cast<const Element*>(tensors.weight),
      .bias = static_cast<const Element*>(tensors.bias),
      .output = static_cast<Element*>(tensors.output),
      .pixels = static_cast<int>(problem.n * problem.output.volume()),
      .k = problem.k,
      .aligned = problem.k % chunk<Element> == 0 && on_16_bytes(tensors.output) &&
                 on_16_bytes(tensors.residual) && on_16_bytes(tensors.preactivation),
      .finish = {problem, tensors}};
  CNNKERN_LAUNCH((first_layer<Element, m, n, k>), grid_of(plan), dim3(plan.threads),
                 plan.shared_bytes, stream, params);
}

#define CNNKERN_FIRST_LAYER_FPROP(dtype, type, m, n, k)                                \
  template void launch_first_layer<type, m, n, k>(const ConvPlan&, const ConvProblem&, \
                                                  const ConvTensors&, cudaStream_t);
#include "cuda/conv/conv_kernels.inc"

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
