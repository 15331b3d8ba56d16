// Depthwise convolution of N C D H W tensors (and of all 1-d ones), forward and input gradient.
//
// rows: a thread makes the 4 to 8 neighbouring pixels of a row that fill 16 bytes. Rows are whole
// vectors, so it loads the vector above its own, and the ones beside it, which its neighbours also
// load (from the first cache), and needs no masks but one a vector. A row of taps is laid out by
// its distance from the pixel, −halo … halo: other paddings, shorter and dilated rows are weights
// that are zero, so that one unrolled body serves them all, causal ones too.
// points: for rows that are no whole vectors, long filters and stride classes. A thread makes four
// pixels a quarter of the plane (1-d: of the row) apart, so that the lanes of a warp read
// neighbouring addresses whatever the width, and a weight is loaded once for the four.
// Weights come through the read-only cache, mostly one address a warp. No shared memory.
// Source: "short causal convolutions" as causal-conv1d's 16 bytes a thread. Grid: x = threads over
// (image, channel, plane, row, vector); y = stride classes.
#include "cuda/conv/depthwise.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

template <class T, int halo>
struct RowsParams : DepthwiseGather<T> {
  int count;  // threads
  FastDivmod vectors, rows, depth, channels;
  int taps[2 * halo + 1];  // the tap that reads −halo, … halo; −1 where there is none
};

template <class T, int vector, int halo, int step>
__global__ void __launch_bounds__(depthwise_threads, 2) depthwise_rows(RowsParams<T, halo> p) {
  using A = accumulator_t<T>;
  using V = Vector<T, vector>;
  const int64_t index = grid_thread();
  if (index >= p.count) return;
  int q, row, z, channel;
  int rest = p.vectors.divmod(static_cast<int>(index), q);
  rest = p.rows.divmod(rest, row);
  rest = p.depth.divmod(rest, z);
  const int n = p.channels.divmod(rest, channel);
  const DepthwiseAxis::Class &at_d = p.d.classes[0], &at_h = p.h.classes[0];
  constexpr int vectors = 2 + ((vector - 1) * step + halo) / vector;  // the first left of its own

  A sums[1][vector];
  const A bias = p.bias ? load_as_accumulator(p.bias + channel) : A(0);
#pragma unroll
  for (int i = 0; i < vector; ++i) sums[0][i] = bias;
  for (int j = 0; j < static_cast<int>(p.summed.divisor); ++j) {
    const int filter = channel * static_cast<int>(p.summed.divisor) + j;
    const int plane = n * p.source_channels + p.multiplier.divide(filter);
    for (int t = 0; t < at_d.taps; ++t)
      for (int r = 0; r < at_h.taps; ++r) {
        const int d = at_d.start + z * p.d.source_step + t * p.d.source_tap_step;
        const int h = at_h.start + row * p.h.source_step + r * p.h.source_tap_step;
        const bool valid = inside(d, p.d.source_extent) && inside(h, p.h.source_extent);
        const int first = (q * step - 1) * vector;
        const T* const source =
            p.source +
            (valid ? ((plane * p.d.source_extent + d) * p.h.source_extent + h) : 0) *
                int64_t{p.w.source_extent} +
            first;
        const T* const weight = p.weight + filter * p.filter_taps +
                                ((at_d.first_tap + t * p.d.tap_step) * p.h.filter_extent +
                                 at_h.first_tap + r * p.h.tap_step) *
                                    p.w.filter_extent;
        A weights[2 * halo + 1];
#pragma unroll
        for (int e = 0; e <= 2 * halo; ++e)
          weights[e] =
              static_cast<A>(load_global_or_zero<T>(weight + max(p.taps[e], 0), p.taps[e] >= 0));
        A window[vectors][vector];
#pragma unroll
        for (int v = 0; v < vectors; ++v) {
          const bool reads = valid && inside(first + v * vector, p.w.source_extent);
          widen(load_global_or_zero<V>(source + v * vector, reads), window[v]);
        }
#pragma unroll
        for (int e = 0; e <= 2 * halo; ++e)
#pragma unroll
          for (int i = 0; i < vector; ++i) {
            const int seen = vector + i * step + e - halo;
            sums[0][i] = fma(weights[e], window[seen / vector][seen % vector], sums[0][i]);
          }
      }
  }
  store_strip<T>(p, index * vector, 0, 1, sums);
}

template <class T>
struct PointsParams : DepthwiseGather<T> {
  int count;                  // threads
  int rows, columns;          // of pixels that begin a strip
  int next_row, next_column;  // from a pixel of a strip to the next
  FastDivmod by_columns, by_rows, depth, channels;
};

template <class T>
__global__ void __launch_bounds__(depthwise_threads, 4) depthwise_points(PointsParams<T> p) {
  using A = accumulator_t<T>;
  const int64_t index = grid_thread();
  if (index >= p.count) return;
  const DepthwiseClass at = DepthwiseClass::of_block(p);
  int q, row, z, channel;
  int rest = p.by_columns.divmod(static_cast<int>(index), q);
  rest = p.by_rows.divmod(rest, row);
  rest = p.depth.divmod(rest, z);
  const int n = p.channels.divmod(rest, channel);
  if (z >= at.d.count) return;

  A sums[depthwise_strip][1];
  const A bias = p.bias ? load_as_accumulator(p.bias + channel) : A(0);
  int count = 0;  // pixels of the strip that exist
#pragma unroll
  for (int i = 0; i < depthwise_strip; ++i) {
    sums[i][0] = bias;
    count += row + i * p.next_row < at.h.count && q + i * p.next_column < at.w.count;
  }
  for (int j = 0; j < static_cast<int>(p.summed.divisor); ++j) {
    const int filter = channel * static_cast<int>(p.summed.divisor) + j;
    const int plane = n * p.source_channels + p.multiplier.divide(filter);
    for (int t = 0; t < at.d.taps; ++t)
      for (int r = 0; r < at.h.taps; ++r)
        for (int s = 0; s < at.w.taps; ++s) {
          const int d = at.d.start + z * p.d.source_step + t * p.d.source_tap_step;
          const int h = at.h.start + row * p.h.source_step + r * p.h.source_tap_step;
          const int w = at.w.start + q * p.w.source_step + s * p.w.source_tap_step;
          const int tap = ((at.d.first_tap + t * p.d.tap_step) * p.h.filter_extent +
                           at.h.first_tap + r * p.h.tap_step) *
                              p.w.filter_extent +
                          at.w.first_tap + s * p.w.tap_step;
          const A weight = load_as_accumulator(p.weight + filter * p.filter_taps + tap);
#pragma unroll
          for (int i = 0; i < depthwise_strip; ++i) {
            const int hi = h + i * p.next_row * p.h.source_step;
            const int wi = w + i * p.next_column * p.w.source_step;
            const bool valid = i < count && inside(d, p.d.source_extent) &&
                               inside(hi, p.h.source_extent) && inside(wi, p.w.source_extent);
            const int from = valid ? ((plane * p.d.source_extent + d) * p.h.source_extent + hi) *
                                             p.w.source_extent +
                                         wi
                                   : 0;
            sums[i][0] = fma(weight, static_cast<A>(load_global_or_zero<T>(p.source + from, valid)),
                             sums[i][0]);
          }
        }
  }
  const int64_t to =
      (((n * p.result_channels + channel) * p.d.result_extent + at.d.first + z * p.d.result_step) *
           p.h.result_extent +
       at.h.first + row * p.h.result_step) *
          p.w.result_extent +
      at.w.first + q * p.w.result_step;
  const int64_t next =
      p.next_row * p.h.result_step * int64_t{p.w.result_extent} + p.next_column * p.w.result_step;
  store_strip<T>(p, to, next, count, sums);
}

template <class T, int vector, int halo, int step>
void launch_rows(const DepthwiseShape& shape, const ConvProblem& problem,
                 const ConvTensors& tensors, cudaStream_t stream) {
  const DepthwiseGather<T> gather(problem, tensors);
  const int vectors = gather.w.result_extent / vector;
  RowsParams<T, halo> params{{gather},
                             gather.result_channels * static_cast<int>(problem.n) *
                                 gather.d.result_extent * gather.h.result_extent * vectors,
                             FastDivmod(vectors),
                             FastDivmod(gather.h.result_extent),
                             FastDivmod(gather.d.result_extent),
                             FastDivmod(gather.result_channels),
                             {}};
  const DepthwiseAxis::Class& w = gather.w.classes[0];
  for (int& tap : params.taps) tap = -1;
  for (int j = 0; j < w.taps; ++j)
    params.taps[halo + w.start + j * gather.w.source_tap_step] =
        w.first_tap + j * gather.w.tap_step;
  CNNKERN_LAUNCH((depthwise_rows<T, vector, halo, step>),
                 dim3(static_cast<unsigned>(shape.grid[0])), dim3(shape.threads), 0, stream,
                 params);
}

template <class T>
void launch_points(const DepthwiseShape& shape, const ConvProblem& problem,
                   const ConvTensors& tensors, cudaStream_t stream) {
  const DepthwiseGather<T> gather(problem, tensors);
  const int height = gather.h.classes[0].count, width = gather.w.classes[0].count;
  const auto quarter = [](int size) { return (size + depthwise_strip - 1) / depthwise_strip; };
  const bool flat = height == 1;  // the strip runs along the row
  const int rows = flat ? 1 : quarter(height), columns = flat ? quarter(width) : width;
  const PointsParams<T> params{{gather},
                               gather.result_channels * static_cast<int>(problem.n) *
                                   gather.d.classes[0].count * rows * columns,
                               rows,
                               columns,
                               flat ? 0 : rows,
                               flat ? columns : 0,
                               FastDivmod(columns),
                               FastDivmod(rows),
                               FastDivmod(gather.d.classes[0].count),
                               FastDivmod(gather.result_channels)};
  CNNKERN_LAUNCH((depthwise_points<T>),
                 (dim3(static_cast<unsigned>(shape.grid[0]), static_cast<unsigned>(shape.grid[1]))),
                 dim3(shape.threads), 0, stream, params);
}

}  // namespace

template <class T>
void launch_depthwise_planes(const DepthwiseShape& shape, const ConvProblem& problem,
                             const ConvTensors& tensors, cudaStream_t stream) {
  if (shape.vector == 1) return launch_points<T>(shape, problem, tensors, stream);
  if constexpr (!std::is_same_v<T, double>) {
    constexpr int vector = 16 / sizeof(T);
    (shape.taps == 3   ? launch_rows<T, vector, 3, 1>
     : shape.step == 1 ? launch_rows<T, vector, 1, 1>
                       : launch_rows<T, vector, 1, 2>)(shape, problem, tensors, stream);
  }
}

#define CNNKERN_DEPTHWISE_TYPE(type)                                                     \
  template void launch_depthwise_planes<type>(const DepthwiseShape&, const ConvProblem&, \
                                              const ConvTensors&, cudaStream_t);
#include "cuda/conv/conv_kernels.inc"

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
