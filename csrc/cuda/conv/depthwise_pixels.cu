// Depthwise convolution of channels-last tensors, forward and input gradient.
//
// A thread makes a strip of four neighbouring pixels of a vector of channels (16 bytes: a sector is
// two threads). For each row of taps it takes the row's weights from shared memory into registers
// and slides along the source: each vector is loaded once and multiplied into all pixels of the
// strip that see it. Rows of 3, 5 and 7 taps of stride 1, and of 3 of stride 2, are unrolled; any
// other (dilated, longer, a stride class of dgrad) loads a vector for each tap and pixel, mostly
// from the first cache. Memory-bound up to about 5 × 5 taps, so sums are plain fused multiply-adds
// in float. A block makes 8 vectors of channels × 8 strips × 4 rows (fewer of one and more of
// another where the tensor is narrow): neighbouring rows share source rows in the first cache.
// Shared memory: the block's weights as [filter][tap][piece of 16 bytes][lane], so that lanes read
// neighbouring words; they lie in one run in global memory. Borders are masks.
// Source: the CTA and strip shapes of CUTLASS's depthwise direct convolution, in registers alone.
// Grid: x = images, planes, rows, strips, channels (fastest); y = stride classes.
#include "cuda/conv/depthwise.cuh"
#include "cuda/primitives/shared.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

template <class T>
struct PixelsParams : DepthwiseGather<T> {
  int lanes, strips, log_lanes, log_strips, rows;  // of a block
  FastDivmod taps, channel_blocks, strip_blocks, row_blocks, depth;
};

/// As many weights as the launch has room for.
template <class A>
struct StagedWeights {
  alignas(16) A first[16 / sizeof(A)];
};

/// Where the weights of a block lie in shared memory.
template <class A, int vector>
struct WeightLayout {
  static constexpr int piece =
      vector < 16 / static_cast<int>(sizeof(A)) ? vector : 16 / static_cast<int>(sizeof(A));
  A* weights;
  int lanes;

  __device__ __forceinline__ A* slot(int tap, int channel) const {
    const int lane = channel / vector, element = channel % vector;
    return weights + ((tap * (vector / piece) + element / piece) * lanes + lane) * piece +
           element % piece;
  }

  __device__ __forceinline__ void load(int tap, int lane, A (&values)[vector]) const {
#pragma unroll
    for (int i = 0; i < vector; i += piece) {
      const auto part = load_shared<Vector<A, piece>>(slot(tap, lane * vector + i));
#pragma unroll
      for (int j = 0; j < piece; ++j) values[i + j] = part[j];
    }
  }
};

template <class T, class Layout>
__device__ __forceinline__ void stage_weights(const PixelsParams<T>& p, const Layout& layout,
                                              int first_channel, int channels) {
  const int filters =
      min(channels, p.result_channels - first_channel) * static_cast<int>(p.summed.divisor);
  const T* const first =
      p.weight + first_channel * static_cast<int>(p.summed.divisor) * p.filter_taps;
  for (int i = static_cast<int>(threadIdx.x); i < filters * p.filter_taps;
       i += static_cast<int>(blockDim.x)) {
    int tap, j;
    const int channel = p.summed.divmod(p.taps.divmod(i, tap), j);
    store_shared(layout.slot(j * p.filter_taps + tap, channel), load_as_accumulator(first + i));
  }
}

/// One row of the source through one row of taps, into the sums of a strip.
template <class T, int vector, int taps, int step>
struct RowOfTaps {
  using A = accumulator_t<T>;
  using Weights = WeightLayout<A, vector>;
  using Sums = A[depthwise_strip][vector];
  const PixelsParams<T>& p;
  const Weights& weights;
  const T* row;  // channel `lane` of the row's first pixel
  bool valid;
  int lane, column, tap;  // the first pixel's first tap

  __device__ __forceinline__ const T* pixel(int at) const {
    return row + at * int64_t{p.source_channels};
  }

  /// The pixel `at` of the row, which lies at `from`.
  __device__ __forceinline__ void load(const T* from, int at, A (&x)[vector]) const {
    const bool reads = valid && inside(at, p.w.source_extent);
    widen(load_global_or_zero<Vector<T, vector>>(from, reads), x);
  }

  __device__ __forceinline__ static void add(const A (&weight)[vector], const A (&x)[vector],
                                             A (&sums)[vector]) {
#pragma unroll
    for (int i = 0; i < vector; ++i) sums[i] = fma(weight[i], x[i], sums[i]);
  }

  __device__ __forceinline__ void add_to(const DepthwiseAxis::Class& w, Sums& sums) const {
    if constexpr (taps > 0) {
      A weight[taps][vector];
#pragma unroll
      for (int s = 0; s < taps; ++s) weights.load(tap + s * p.w.tap_step, lane, weight[s]);
      const T* from = pixel(column);
#pragma unroll
      for (int x = 0; x < (depthwise_strip - 1) * step + taps; ++x) {
        A value[vector];
        load(from, column + x, value);
        from += p.source_channels;
#pragma unroll
        for (int q = 0; q < depthwise_strip; ++q)
          if (x >= q * step && x < q * step + taps) add(weight[x - q * step], value, sums[q]);
      }
    } else {
      for (int s = 0; s < w.taps; ++s) {
        A weight[vector];
        weights.load(tap + s * p.w.tap_step, lane, weight);
#pragma unroll
        for (int q = 0; q < depthwise_strip; ++q) {
          A value[vector];
          const int at = column + q * p.w.source_step + s * p.w.source_tap_step;
          load(pixel(at), at, value);
          add(weight, value, sums[q]);
        }
      }
    }
  }
};

template <class T, int vector, int taps, int step>
__global__ void __launch_bounds__(depthwise_threads, 2) depthwise_pixels(PixelsParams<T> p) {
  using A = accumulator_t<T>;
  CNNKERN_SHARED(StagedWeights<A>, shared);
  const WeightLayout<A, vector> weights{shared.first, p.lanes};
  const DepthwiseClass at = DepthwiseClass::of_block(p);
  const int thread = static_cast<int>(threadIdx.x), lane = thread & (p.lanes - 1);
  int rest = static_cast<int>(blockIdx.x), channel, q, row, z;
  rest = p.channel_blocks.divmod(rest, channel);
  rest = p.strip_blocks.divmod(rest, q);
  rest = p.row_blocks.divmod(rest, row);
  const int n = p.depth.divmod(rest, z);
  channel *= p.lanes * vector;
  stage_weights(p, weights, channel, p.lanes * vector);
  __syncthreads();
  channel += lane * vector;
  q = (q * p.strips + ((thread >> p.log_lanes) & (p.strips - 1))) * depthwise_strip;
  row = row * p.rows + (thread >> (p.log_lanes + p.log_strips));
  if (channel >= p.result_channels || q >= at.w.count || row >= at.h.count || z >= at.d.count)
    return;

  A sums[depthwise_strip][vector] = {};
  if (p.bias) {
    const auto bias = load_global_readonly<Vector<T, vector>>(p.bias + channel);
#pragma unroll
    for (auto& sum : sums) widen(bias, sum);
  }
  for (int j = 0; j < static_cast<int>(p.summed.divisor); ++j) {
    const int filter = channel * static_cast<int>(p.summed.divisor) + j;
    const T* const source = p.source + p.multiplier.divide(filter);
    for (int t = 0; t < at.d.taps; ++t)
      for (int r = 0; r < at.h.taps; ++r) {
        const int d = at.d.start + z * p.d.source_step + t * p.d.source_tap_step;
        const int h = at.h.start + row * p.h.source_step + r * p.h.source_tap_step;
        const bool valid = inside(d, p.d.source_extent) && inside(h, p.h.source_extent);
        const int64_t pixel =
            valid ? ((n * p.d.source_extent + d) * p.h.source_extent + h) * p.w.source_extent : 0;
        const int tap = ((at.d.first_tap + t * p.d.tap_step) * p.h.filter_extent + at.h.first_tap +
                         r * p.h.tap_step) *
                            p.w.filter_extent +
                        at.w.first_tap;
        const RowOfTaps<T, vector, taps, step> taps_of_row{p,
                                                           weights,
                                                           source + pixel * p.source_channels,
                                                           valid,
                                                           lane,
                                                           at.w.start + q * p.w.source_step,
                                                           j * p.filter_taps + tap};
        taps_of_row.add_to(at.w, sums);
      }
  }
  const int64_t pixel =
      ((n * p.d.result_extent + at.d.first + z * p.d.result_step) * p.h.result_extent + at.h.first +
       row * p.h.result_step) *
          p.w.result_extent +
      at.w.first + q * p.w.result_step;
  store_strip<T>(p, pixel * p.result_channels + channel,
                 static_cast<int64_t>(p.w.result_step) * p.result_channels, at.w.count - q, sums);
}

template <class T, int vector, int taps, int step>
void launch_pixels(const DepthwiseShape& shape, const ConvProblem& problem,
                   const ConvTensors& tensors, cudaStream_t stream) {
  const DepthwiseGather<T> gather(problem, tensors);
  const auto blocks = [](int elements, int each) {
    return FastDivmod((elements + each - 1) / each);
  };
  const PixelsParams<T> params{{gather},
                               shape.lanes,
                               shape.strips,
                               std::countr_zero(static_cast<unsigned>(shape.lanes)),
                               std::countr_zero(static_cast<unsigned>(shape.strips)),
                               shape.rows,
                               FastDivmod(gather.filter_taps),
                               blocks(gather.result_channels, shape.lanes * vector),
                               blocks(gather.w.classes[0].count, shape.strips * depthwise_strip),
                               blocks(gather.h.classes[0].count, shape.rows),
                               FastDivmod(gather.d.classes[0].count)};
  const dim3 grid(static_cast<unsigned>(shape.grid[0]), static_cast<unsigned>(shape.grid[1]));
  CNNKERN_LAUNCH((depthwise_pixels<T, vector, taps, step>), grid, dim3(shape.threads),
                 shape.shared_bytes, stream, params);
}

}  // namespace

template <class T>
void launch_depthwise_pixels(const DepthwiseShape& shape, const ConvProblem& problem,
                             const ConvTensors& tensors, cudaStream_t stream) {
  auto* launch = launch_pixels<T, 1, 0, 0>;
  if constexpr (!std::is_same_v<T, double>) {
    constexpr int vector = 16 / sizeof(T);
    if (shape.vector > 1) launch = launch_pixels<T, vector, 0, 0>;
    if (shape.taps == 3)
      launch = shape.step == 1 ? launch_pixels<T, vector, 3, 1> : launch_pixels<T, vector, 3, 2>;
    else if (shape.taps == 5) launch = launch_pixels<T, vector, 5, 1>;
    else if (shape.taps == 7) launch = launch_pixels<T, vector, 7, 1>;
  }
  launch(shape, problem, tensors, stream);
}

#define CNNKERN_DEPTHWISE_TYPE(type)                                                     \
  template void launch_depthwise_pixels<type>(const DepthwiseShape&, const ConvProblem&, \
                                              const ConvTensors&, cudaStream_t);
#include "cuda/conv/conv_kernels.inc"

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
