// Depthwise weight gradient.
//
//   weight[k, tap] = Σ over output pixels of output[pixel, k] · input[pixel seen through tap, k/m]
//
// Each filter is a sum over all pixels, so threads share the pixels and keep sums in registers.
// pixels (channels last): a thread owns a vector of channels (16 bytes) and one row of taps, and
// takes strips of four output pixels: their vectors, and the input vectors that the row's taps see,
// each loaded once. The rows of taps of a filter stand in one block, so the output is read from the
// first cache for all but one. Rows of 3, 5 and 7 taps of stride 1 and of 3 of stride 2 are
// unrolled; otherwise a "row" is a single tap.
// planes (N C D H W): a block owns a filter and four neighbouring taps, a thread every 256th pixel.
// Sums meet in shared memory and are added in the order in which the weights lie, so that they
// leave in one run; blocks of other pixels (grid y) leave theirs in the workspace, and sum_parts
// adds these. All orders are fixed. Grid, pixels: x = vectors of channels, z = groups of rows of
// taps; planes: x = filters × fours of taps (fastest).
#include "cuda/conv/depthwise.cuh"
#include "cuda/primitives/shared.cuh"
#include "cuda/primitives/warp.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

struct Axis {
  int input, output, taps, stride, dilation, pad;

  Axis(const ConvProblem& p, int axis)
      : input(static_cast<int>(p.input[axis])),
        output(static_cast<int>(p.output[axis])),
        taps(static_cast<int>(p.filter[axis])),
        stride(static_cast<int>(p.stride[axis])),
        dilation(static_cast<int>(p.dilation[axis])),
        pad(static_cast<int>(p.pad_begin[axis])) {}

  /// The input coordinate that output coordinate o sees through a tap.
  __device__ __forceinline__ int seen(int o, int tap) const {
    return o * stride - pad + tap * dilation;
  }
};

template <class T>
struct DepthwiseWgrad {
  Axis d, h, w;
  FastDivmod multiplier, filter_h, filter_w, by_d, by_h, by_w;
  int k, c, filter_taps;
  int count, count_per_part;  // pixels (planes) or strips of them
  const T *output, *input;
  T* weight;
  accumulator_t<T>* workspace;  // null: one part, whose sums are the result

  DepthwiseWgrad(const ConvProblem& p, const ConvTensors& tensors, int splits, int pixels_of_count)
      : d(p, 0),
        h(p, 1),
        w(p, 2),
        multiplier(p.k_per_group()),
        filter_h(p.filter.h),
        filter_w(p.filter.w),
        by_d(d.output),
        by_h(h.output),
        by_w((w.output + pixels_of_count - 1) / pixels_of_count),
        k(static_cast<int>(p.k)),
        c(static_cast<int>(p.c)),
        filter_taps(static_cast<int>(p.filter.volume())),
        count(static_cast<int>(p.n) * d.output * h.output * static_cast<int>(by_w.divisor)),
        count_per_part((count + splits - 1) / splits),
        output(static_cast<const T*>(tensors.output)),
        input(static_cast<const T*>(tensors.input)),
        weight(static_cast<T*>(tensors.weight)),
        workspace(splits > 1 ? static_cast<accumulator_t<T>*>(tensors.workspace) : nullptr) {}

  /// The sum of this block's part goes to an element of the weight.
  __device__ __forceinline__ void store(int element, accumulator_t<T> sum) const {
    if (workspace) store_global(workspace + blockIdx.y * int64_t{k} * filter_taps + element, sum);
    else store_global(weight + element, T(sum));
  }
};

/// As much as the launch has room for.
template <class A>
struct SharedSums {
  alignas(16) A first[16 / sizeof(A)];
};

/// Where the threads' sums lie: [tap][piece of 16 bytes][thread], so that threads write
/// neighbouring words; the taps of a channel, read together, begin in different banks.
template <class A, int vector>
struct ThreadSums {
  static constexpr int words = 16 / static_cast<int>(sizeof(A));
  static constexpr int piece = vector < words ? vector : words;
  A* sums;

  __device__ __forceinline__ A* slot(int thread, int tap, int element) const {
    return sums + tap * (depthwise_wgrad_threads * vector + words) +
           (element / piece * depthwise_wgrad_threads + thread) * piece + element % piece;
  }

  __device__ __forceinline__ void store(int thread, int tap, const A (&values)[vector]) const {
#pragma unroll
    for (int i = 0; i < vector; i += piece) {
      Vector<A, piece> part;
#pragma unroll
      for (int e = 0; e < piece; ++e) part[e] = values[i + e];
      store_shared(slot(thread, tap, i), part);
    }
  }
};

template <class T>
struct PixelsParams : DepthwiseWgrad<T> {
  int lanes, log_lanes, units, parts, all_units;
  FastDivmod by_units, by_taps_of_units, by_last_taps;
};

/// Adds the products of a strip of output pixels with what a row of taps sees of them.
template <class T, int vector, int taps, int step>
__device__ __forceinline__ void add_strip(const PixelsParams<T>& p, int n, int z, int row, int q,
                                          int t, int r, int s, int filter,
                                          accumulator_t<T> (&sums)[taps][vector]) {
  using A = accumulator_t<T>;
  using V = Vector<T, vector>;
  const int d = p.d.seen(z, t), h = p.h.seen(row, r), w = p.w.seen(q, s);
  const bool valid = inside(d, p.d.input) && inside(h, p.h.input);
  const int source = valid ? ((n * p.d.input + d) * p.h.input + h) * p.w.input : 0;
  const T* const input = p.input + source * int64_t{p.c} + p.multiplier.divide(filter);
  const T* const output =
      p.output + (((n * p.d.output + z) * p.h.output + row) * p.w.output + q) * int64_t{p.k} +
      filter;
  A gradient[depthwise_strip][vector];
#pragma unroll
  for (int i = 0; i < depthwise_strip; ++i)
    widen(load_global_or_zero<V>(output + i * int64_t{p.k}, q + i < p.w.output), gradient[i]);
  A x[vector];
  const auto load = [&](int at) {
    widen(load_global_or_zero<V>(input + at * int64_t{p.c}, valid && inside(at, p.w.input)), x);
  };
  const auto add = [&](int i, int tap) {
#pragma unroll
    for (int e = 0; e < vector; ++e) sums[tap][e] = fma(x[e], gradient[i][e], sums[tap][e]);
  };
  if constexpr (step > 0) {
#pragma unroll
    for (int at = 0; at < (depthwise_strip - 1) * step + taps; ++at) {
      load(w + at);
#pragma unroll
      for (int i = 0; i < depthwise_strip; ++i)
        if (at >= i * step && at < i * step + taps) add(i, at - i * step);
    }
  } else {
#pragma unroll
    for (int i = 0; i < depthwise_strip; ++i) {
      load(w + i * p.w.stride);
      add(i, 0);
    }
  }
}

template <class T, int vector, int taps, int step>
__global__ void __launch_bounds__(depthwise_wgrad_threads, taps == 7 ? 3 : 4)
    depthwise_wgrad_pixels(PixelsParams<T> p) {
  using A = accumulator_t<T>;
  CNNKERN_SHARED(SharedSums<A>, shared);
  const ThreadSums<A, vector> all{shared.first};
  const int thread = static_cast<int>(threadIdx.x), lane = thread & (p.lanes - 1);
  const int first_unit = static_cast<int>(blockIdx.z) * p.units;
  const int first_filter = static_cast<int>(blockIdx.x) * p.lanes * vector;
  int unit;
  const int part = p.by_units.divmod(thread >> p.log_lanes, unit);
  const int filter = first_filter + lane * vector;
  unit += first_unit;

  A sums[taps][vector] = {};
  if (part < p.parts && unit < p.all_units && filter < p.k) {
    int r, s;  // a unit begins at tap unit · taps of the filter
    const int t = p.filter_h.divmod(p.filter_w.divmod(unit * taps, s), r);
    const int begin = static_cast<int>(blockIdx.y) * p.count_per_part;
    const int end = min(begin + p.count_per_part, p.count);
    for (int i = begin + part; i < end; i += p.parts) {
      int q, row, z;
      int rest = p.by_w.divmod(i, q);
      rest = p.by_h.divmod(rest, row);
      const int n = p.by_d.divmod(rest, z);
      add_strip<T, vector, taps, step>(p, n, z, row, q * depthwise_strip, t, r, s, filter, sums);
    }
  }
#pragma unroll
  for (int tap = 0; tap < taps; ++tap) all.store(thread, tap, sums[tap]);
  __syncthreads();

  const FastDivmod by_taps =
      first_unit + p.units <= p.all_units ? p.by_taps_of_units : p.by_last_taps;
  const int unit_taps = static_cast<int>(by_taps.divisor);
  const int elements = min(p.lanes * vector, p.k - first_filter) * unit_taps;
  for (int e = thread; e < elements; e += depthwise_wgrad_threads) {
    int tap;
    const int channel = by_taps.divmod(e, tap);
    const int owner = tap / taps * p.lanes + channel / vector;
    A sum = 0;
    for (int other = 0; other < p.parts; ++other)
      sum +=
          load_shared<A>(all.slot(other * p.units * p.lanes + owner, tap % taps, channel % vector));
    p.store((first_filter + channel) * p.filter_taps + first_unit * taps + tap, sum);
  }
}

constexpr int warps = depthwise_threads / 32;

template <class A>
struct WarpSums {
  A sum[warps][depthwise_strip];
};

template <class T>
struct PlanesParams : DepthwiseWgrad<T> {
  FastDivmod units, fours;  // fours of taps in a filter, and in a row of it
};

template <class T>
__global__ void __launch_bounds__(depthwise_threads, 2) depthwise_wgrad_planes(PlanesParams<T> p) {
  using A = accumulator_t<T>;
  constexpr int taps = depthwise_strip;
  CNNKERN_SHARED(WarpSums<A>, shared);
  int unit, four, r;
  const int filter = p.units.divmod(static_cast<int>(blockIdx.x), unit);
  const int t = p.filter_h.divmod(p.fours.divmod(unit, four), r), first_s = four * taps;
  const int channel = p.multiplier.divide(filter);
  const int begin = static_cast<int>(blockIdx.y) * p.count_per_part;
  const int end = min(begin + p.count_per_part, p.count);

  A sums[taps] = {};
  for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += depthwise_threads) {
    int q, row, z;
    int rest = p.by_w.divmod(i, q);
    rest = p.by_h.divmod(rest, row);
    const int n = p.by_d.divmod(rest, z);
    const int d = p.d.seen(z, t), h = p.h.seen(row, r);
    const bool valid = inside(d, p.d.input) && inside(h, p.h.input);
    const int source =
        valid ? (((n * p.c + channel) * p.d.input + d) * p.h.input + h) * p.w.input : 0;
    const int pixel = (((n * p.k + filter) * p.d.output + z) * p.h.output + row) * p.w.output + q;
    const A gradient = load_as_accumulator(p.output + pixel);
#pragma unroll
    for (int tap = 0; tap < taps; ++tap) {
      const int w = p.w.seen(q, first_s + tap);
      const bool reads = valid && first_s + tap < p.w.taps && inside(w, p.w.input);
      const T x = load_global_or_zero<T>(p.input + source + (reads ? w : 0), reads);
      sums[tap] = fma(gradient, static_cast<A>(x), sums[tap]);
    }
  }
#pragma unroll
  for (int tap = 0; tap < taps; ++tap) {
    sums[tap] = warp_sum(full_warp, sums[tap]);
    if (lane_index() == 0) store_shared(&shared.sum[warp_index()][tap], sums[tap]);
  }
  __syncthreads();
  const int tap = static_cast<int>(threadIdx.x);
  if (tap >= taps || first_s + tap >= p.w.taps) return;
  A sum = 0;
  for (int warp = 0; warp < warps; ++warp) sum += load_shared<A>(&shared.sum[warp][tap]);
  p.store(filter * p.filter_taps + (t * p.h.taps + r) * p.w.taps + first_s + tap, sum);
}

constexpr int sum_warps = 8;

template <class A>
struct PartSums {
  A of[sum_warps][32];
};

/// weight[i] = Σ over parts. A block makes 32 weights: each of its warps adds every eighth part, so
/// that the loads of many are under way, and the first adds up what they have, in one order.
template <class T>
__global__ void __launch_bounds__(32 * sum_warps)
    depthwise_sum_parts(const accumulator_t<T>* __restrict__ workspace, T* __restrict__ weight,
                        int elements, int parts) {
  using A = accumulator_t<T>;
  CNNKERN_SHARED(PartSums<A>, shared);
  const int lane = lane_index(), i = static_cast<int>(blockIdx.x) * 32 + lane;
  A sum = 0;
  if (i < elements)
#pragma unroll 4
    for (int part = warp_index(); part < parts; part += sum_warps)
      sum += load_global_readonly<A>(workspace + int64_t{part} * elements + i);
  store_shared(&shared.of[warp_index()][lane], sum);
  __syncthreads();
  if (warp_index() != 0 || i >= elements) return;
  sum = 0;
#pragma unroll
  for (int warp = 0; warp < sum_warps; ++warp) sum += load_shared<A>(&shared.of[warp][lane]);
  store_global(weight + i, T(sum));
}

template <class T, int vector, int taps, int step>
void launch_pixels(const DepthwiseShape& shape, const DepthwiseWgrad<T>& wgrad, const dim3& grid,
                   cudaStream_t stream) {
  const int units = wgrad.filter_taps / taps;
  const PixelsParams<T> params{{wgrad},
                               shape.lanes,
                               std::countr_zero(static_cast<unsigned>(shape.lanes)),
                               shape.units,
                               shape.parts,
                               units,
                               FastDivmod(shape.units),
                               FastDivmod(shape.units * taps),
                               FastDivmod((units - 1) % shape.units * taps + taps)};
  CNNKERN_LAUNCH((depthwise_wgrad_pixels<T, vector, taps, step>), grid, dim3(shape.threads),
                 shape.shared_bytes, stream, params);
}

}  // namespace

template <class T>
void launch_depthwise_wgrad(const DepthwiseShape& shape, const ConvProblem& problem,
                            const ConvTensors& tensors, int splits, cudaStream_t stream) {
  const bool channels_last = problem.layout == Layout::nhwc;
  const DepthwiseWgrad<T> wgrad(problem, tensors, splits, channels_last ? depthwise_strip : 1);
  const dim3 grid(static_cast<unsigned>(shape.grid[0]), static_cast<unsigned>(shape.grid[1]),
                  static_cast<unsigned>(shape.grid[2]));
  if (channels_last) {
    auto* launch = launch_pixels<T, 1, 1, 0>;
    if constexpr (!std::is_same_v<T, double>) {
      constexpr int vector = 16 / sizeof(T);
      if (shape.vector > 1) launch = launch_pixels<T, vector, 1, 0>;
      if (shape.taps == 3)
        launch = shape.step == 1 ? launch_pixels<T, vector, 3, 1> : launch_pixels<T, vector, 3, 2>;
      else if (shape.taps == 5) launch = launch_pixels<T, vector, 5, 1>;
      else if (shape.taps == 7) launch = launch_pixels<T, vector, 7, 1>;
    }
    launch(shape, wgrad, grid, stream);
  } else {
    const int fours = (wgrad.w.taps + depthwise_strip - 1) / depthwise_strip;
    const PlanesParams<T> params{{wgrad}, FastDivmod(shape.unit_groups), FastDivmod(fours)};
    CNNKERN_LAUNCH((depthwise_wgrad_planes<T>), grid, dim3(shape.threads), shape.shared_bytes,
                   stream, params);
  }
  if (splits == 1) return;
  const int elements = static_cast<int>(problem.weight_elements());
  CNNKERN_LAUNCH((depthwise_sum_parts<T>), dim3(static_cast<unsigned>((elements + 31) / 32)),
                 dim3(32 * sum_warps), sizeof(PartSums<accumulator_t<T>>), stream, wgrad.workspace,
                 wgrad.weight, elements, splits);
}

#define CNNKERN_DEPTHWISE_TYPE(type)                                                    \
  template void launch_depthwise_wgrad<type>(const DepthwiseShape&, const ConvProblem&, \
                                             const ConvTensors&, int, cudaStream_t);
#include "cuda/conv/conv_kernels.inc"

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
