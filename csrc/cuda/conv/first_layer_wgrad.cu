// Weight gradient of a network's first convolution on the tensor cores: images of at most four
// channels in channels last, float16 and bfloat16.
//
//   weight[k, (r, s, c)] = Σ over output pixels of output[pixel, k] · input[pixel seen through the
//   tap, c]
//
// GEMM view: rows = K filters, columns = R·S·C filter elements without a gap between taps, so that
// of 7×7×3 = 147 columns, which take 160, 92 % are of use; depth = N·P·Q pixels, in parts as in
// wgrad_mma.cu. A thread gathers one column, element by element, for all pixels of a tile: lanes
// read neighbours in the image, and what depends on the pixel is the same for a warp. Each lane
// works that out for one pixel of the next tile; the warp then reads it from shared memory. An
// element costs a bit test, a sum and a load. Elements wait in registers, on every architecture
// (mma_pipeline.cuh). Tiling and shared memory: implicit_gemm_mma.cuh, then the pixels of each
// warp. Grid: x = tiles, y = parts.
#include "cuda/conv/conv_launch.h"
#include "cuda/conv/implicit_gemm_mma.cuh"
#include "cuda/conv/pixel_gather.cuh"
#include "cuda/conv/tile_position.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

template <class Element>
struct FirstLayerWgradParams {
  FastDivmod q, p;                          // pixels in a row of the output, rows in an output
  FastDivmod filter_row, filter_tap;        // columns in a row of the filter: S·C; in a tap: C
  int height, width, channels, row_length;  // of an image; a row has W·C elements
  int stride_h, stride_w, pad_h, pad_w;
  const Element *input, *output;
  Element* weight;
  float* parts;  // if not null: one weight tensor for each part of the depth, instead of weight
  int filters, columns, pixels, depth_per_part;
};

/// Where a pixel's window begins, in elements of the input, and which of the filter's rows (from
/// bit 0 on) and columns (from bit 16 on) see what lies outside of the image.
struct alignas(8) PixelWindow {
  int offset;
  unsigned outside;
};

/// Of 16 neighbours from `at` on those outside of [0, extent), a bit each.
__device__ __forceinline__ unsigned outside(int at, int extent) {
  const int before = min(max(-at, 0), 16), until = min(max(extent - at, 0), 16);
  return ((1u << before) - 1u) | (0xffffu << until);
}

template <class Element>
__device__ __forceinline__ PixelWindow window_of(const FirstLayerWgradParams<Element>& params,
                                                 int pixel) {
  int p, q;
  const int image = params.p.divmod(params.q.divmod(pixel, q), p);
  const int h = p * params.stride_h - params.pad_h, w = q * params.stride_w - params.pad_w;
  return {(image * params.height + h) * params.row_length + w * params.channels,
          (outside(h, params.height) & 0xffffu) | outside(w, params.width) << 16};
}

/// The output's gradient: a line is a pixel, its chunks are filters.
template <class Element, class Tile, int threads>
class GradientLines {
  static constexpr int apart = threads / Tile::chunks;  // from one of a thread's lines to the next
  static constexpr int count = (Tile::lines + apart - 1) / apart;
  static_assert(threads % Tile::chunks == 0);

 public:
  /// The part's first pixel, and how many it has.
  __device__ __forceinline__ GradientLines(const Element* pixel, int count, int filters, int first)
      : step_(apart * filters), tile_step_(int64_t{Tile::lines} * filters) {
    const int filter = first + chunk_in_line_ * chunk<Element>;
    from_ = pixel + int64_t{first_} * filters + filter;
    left_ = filter < filters ? count - first_ : 0;
  }

  __device__ __forceinline__ void copy() {
#pragma unroll
    for (int i = 0; i < count; ++i)
      chunks_[i] = load_global_or_zero<Chunk>(from_ + i * step_, exists(i) && left_ > i * apart);
    from_ += tile_step_;
    left_ -= Tile::lines;
  }
  __device__ __forceinline__ void land(Tile& tile) const {
#pragma unroll
    for (int i = 0; i < count; ++i)
      if (exists(i))
        store_shared(tile.data + Tile::place(first_ + i * apart, chunk_in_line_), chunks_[i]);
  }

 private:
  using Chunk = Vector<unsigned, 4>;

  __device__ __forceinline__ bool exists(int i) const {
    return (i + 1) * apart <= Tile::lines || first_ + i * apart < Tile::lines;
  }

  int first_ = static_cast<int>(threadIdx.x) / Tile::chunks;
  int chunk_in_line_ = static_cast<int>(threadIdx.x) % Tile::chunks;
  const Element* from_;
  int64_t step_, tile_step_;
  int left_;  // pixels from this thread's first line on
  Chunk chunks_[count];
};

/// The image: a line is a column of the GEMM, a thread's own; its chunks are pixels.
template <class Element, class Tile>
class ColumnLine {
 public:
  using Windows = PixelWindow[2][Tile::length];  // of two tiles in turn

  /// `windows`: the warp's. Past the last column that one again: nothing of it is stored.
  __device__ __forceinline__ ColumnLine(const FirstLayerWgradParams<Element>& p, Windows& windows,
                                        int first_column, int first_pixel, int end)
      : p_(p), windows_(windows), pixel_(first_pixel + lane_index()), end_(end) {
    int along, channel;
    const int column = min(first_column + line_, p.columns - 1);
    const int r = p.filter_row.divmod(column, along), s = p.filter_tap.divmod(along, channel);
    from_ = reinterpret_cast<uintptr_t>(p.input + int64_t{r} * p.row_length + along);
    tap_ = 1u << r | 1u << (s + 16);
    prepare();
  }

  __device__ __forceinline__ void copy() {
#pragma unroll
    for (int pixel = 0; pixel < Tile::length; pixel += 2) {
      const auto two = load_shared<Vector<PixelWindow, 2>>(windows_[ready_] + pixel);
#pragma unroll
      for (int i = 0; i < 2; ++i)
        chunks_[pixel / chunk<Element>][pixel % chunk<Element> + i] =
            load_global_or_zero<Element>(at(two[i].offset), (two[i].outside & tap_) == 0);
    }
  }
  __device__ __forceinline__ void land(Tile& tile) {
#pragma unroll
    for (int i = 0; i < Tile::chunks; ++i)
      store_shared(tile.data + Tile::place(line_, i), chunks_[i]);
    prepare();
  }

 private:
  /// In numbers: of sums of pointers the compiler would add up the offsets first, each time anew.
  __device__ __forceinline__ const Element* at(int offset) const {
    constexpr int bytes = sizeof(Element);
    return reinterpret_cast<const Element*>(from_ + int64_t{offset} * bytes);
  }

  /// Writes the windows of the next tile's pixels, a lane one of them; a barrier follows.
  __device__ __forceinline__ void prepare() {
    static_assert(Tile::length == 32);
    PixelWindow window = window_of(p_, min(pixel_, end_ - 1));
    if (pixel_ >= end_) window.outside = ~0u;
    ready_ ^= 1;
    store_shared(windows_[ready_] + lane_index(), window);
    pixel_ += Tile::length;
  }

  const FirstLayerWgradParams<Element>& p_;
  int line_ = static_cast<int>(threadIdx.x);
  Windows& windows_;
  int ready_ = 1;    // the next tile's
  int pixel_, end_;  // the lane's pixel of the next tile; the end of the part
  uintptr_t from_;   // this column of a window that begins at the input's first element
  unsigned tap_;
  Vector<Element, chunk<Element>> chunks_[Tile::chunks];
};

/// A tile is landed before the next is copied, and with it what the copies read of their pixels.
struct WindowPipeline : RegisterPipeline {
  template <class Source, class Stage, int stages>
  __device__ __forceinline__ static void begin(Source& source, Stage (&stage)[stages]) {
    source.copy(stage[0]);
    source.land(stage[0]);
    __syncthreads();  // the second tile's pixels are there
    source.copy(stage[1]);
  }
};

template <class Element, class Gemm>
struct GradientAndImage {
  GradientLines<Element, typename Gemm::LoaderA::Tile, Gemm::threads> gradient;
  ColumnLine<Element, typename Gemm::LoaderB::Tile> image;

  __device__ __forceinline__ void copy(typename Gemm::Stage&) {
    gradient.copy();
    image.copy();
  }
  __device__ __forceinline__ void land(typename Gemm::Stage& stage) {
    gradient.land(stage.a);
    image.land(stage.b);
  }
};

/// Rows of an odd length begin anywhere: a warp's sums pass through shared memory, 16 rows at a
/// time, and neighbouring lanes store neighbours of a row.
template <class Gemm, class To>
__device__ __forceinline__ void store_weights(typename Gemm::Shared& shared, To* weight,
                                              int filters, int columns, int first_m, int first_n,
                                              const typename Gemm::Sums& sums) {
  constexpr int pitch = Gemm::slab_pitch, rows = Gemm::slab_rows;
  static_assert(Gemm::warp_n == 32, "a lane has a column");
  float* slab = shared.slab[warp_index()];
  const int lane = lane_index(), quad = lane / 4, pair = lane % 4 * 2;
  const int column = first_n + Gemm::warp_column() + lane;
#pragma unroll
  for (int i = 0; i < Gemm::warp_m / rows; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int j = 0; j < Gemm::warp_n / 8; ++j)
        store_shared(slab + (quad + 8 * half) * pitch + j * 8 + pair,
                     Vector<float, 2>{sums[i][j][2 * half], sums[i][j][2 * half + 1]});
    __syncthreads();
    const int first_row = first_m + Gemm::warp_row() + i * rows;
#pragma unroll
    for (int r = 0; r < rows; ++r)
      if (first_row + r < filters && column < columns)
        store_global(weight + int64_t{first_row + r} * columns + column,
                     To(load_shared<float>(slab + r * pitch + lane)));
    __syncthreads();  // before the next rows come
  }
}

template <class Element, int m, int n, int k>
__global__ void __launch_bounds__(n, 1)
    first_layer_wgrad([[maybe_unused]] const FirstLayerWgradParams<Element> p) {
  if constexpr (has_mma_of<Element>) {
    using Gemm = MmaGemm<Element, m, n, k, Major::mn, Major::k>;
    static_assert(Gemm::threads == n, "a thread has one column");
    struct SharedStorage {
      typename Gemm::Shared gemm;
      PixelWindow windows[Gemm::warps][2][k];
    };
    static_assert(sizeof(SharedStorage) ==
                  first_layer_wgrad_shared_bytes({m, n, k}, CNNKERN_ARCH / 10));
    CNNKERN_SHARED(SharedStorage, shared);
    const TilePosition tile(p.columns, m, n);
    const int part = static_cast<int>(blockIdx.y), first_pixel = part * p.depth_per_part;
    const int count = min(p.depth_per_part, p.pixels - first_pixel);
    GradientAndImage<Element, Gemm> source{
        {p.output + int64_t{first_pixel} * p.filters, count, p.filters, tile.m},
        {p, shared.windows[warp_index()], tile.n, first_pixel, first_pixel + count}};

    __syncthreads();  // the first tile's pixels are there
    typename Gemm::Sums sums = {};
    Gemm::template multiply<WindowPipeline>(shared.gemm, source, (count + k - 1) / k, sums);

    if (p.parts != nullptr)
      store_weights<Gemm>(shared.gemm, p.parts + int64_t{part} * p.filters * p.columns, p.filters,
                          p.columns, tile.m, tile.n, sums);
    else store_weights<Gemm>(shared.gemm, p.weight, p.filters, p.columns, tile.m, tile.n, sums);
  }
}

}  // namespace

template <class Element, int m, int n, int k>
void launch_first_layer_wgrad(const ConvPlan& plan, const ConvProblem& problem,
                              const ConvTensors& tensors, cudaStream_t stream) {
  const int c = static_cast<int>(problem.c);
  const Index3 filter = narrow(problem.filter), input = narrow(problem.input);
  const Index3 stride = narrow(problem.stride), pad = narrow(problem.pad_begin);
  const int64_t pixels = problem.n * problem.output.volume();
  const int64_t pixels_per_part = (pixels + plan.split_k - 1) / plan.split_k;
  auto* weight = static_cast<Element*>(tensors.weight);
  auto* parts = plan.split_k > 1 ? static_cast<float*>(tensors.workspace) : nullptr;
  const FirstLayerWgradParams<Element> params{
      .q = FastDivmod(problem.output.w),
      .p = FastDivmod(problem.output.h),
      .filter_row = FastDivmod(filter.w * c),
      .filter_tap = FastDivmod(c),
      .height = input.h,
      .width = input.w,
      .channels = c,
      .row_length = input.w * c,
      .stride_h = stride.h,
      .stride_w = stride.w,
      .pad_h = pad.h,
      .pad_w = pad.w,
      .input = static_cast<const Element*>(tensors.input),
      .output = static_cast<const Element*>(tensors.output),
      .weight = weight,
      .parts = parts,
      .filters = static_cast<int>(problem.k),
      .columns = filter.h * filter.w * c,
      .pixels = static_cast<int>(pixels),
      .depth_per_part = static_cast<int>((pixels_per_part + k - 1) / k * k)};
  CNNKERN_LAUNCH((first_layer_wgrad<Element, m, n, k>), grid_of(plan), dim3(plan.threads),
                 plan.shared_bytes, stream, params);
  if (parts != nullptr)
    launch_split_k_reduce(parts, weight, problem.weight_elements(), plan.split_k, stream);
}

#define CNNKERN_FIRST_LAYER_WGRAD(dtype, type, m, n, k)                                      \
  template void launch_first_layer_wgrad<type, m, n, k>(const ConvPlan&, const ConvProblem&, \
                                                        const ConvTensors&, cudaStream_t);
#include "cuda/conv/conv_kernels.inc"

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
