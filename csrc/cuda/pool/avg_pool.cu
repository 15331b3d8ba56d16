// Average pooling, strided or adaptive, forward and backward, any shape, both layouts.
//
// forward: one thread makes one output; it finds the window of each axis once, clipped to the
// input, sums the taps of each row, 64 at a time, and these sums, so that the error of a long mean
// grows with its root, and divides.
// backward: gather-style. One thread owns one input element, finds the windows over it by range
// arithmetic, and sums their gradients. No atomics, so the order is fixed and the result repeats
// bit for bit. Where all windows have one divisor (no window counts fewer taps at a border, which
// is torch's default), the sum is divided once; else each gradient is, by a reciprocal that is
// made anew only when the divisor changes.
// Sums are kept in float (double for float64). In channels last an "element" is a vector of 16
// bytes of channels (channel_vectors.cuh). Threads walk the result in memory order: along w in
// N C D H W, along c in channels last, so loads of neighbouring threads fall together. No shared
// memory: window overlap is left to the caches. A grid of 2^31 blocks covers 2^39 elements. Means
// of whole planes, with too few outputs for a thread each, are global_avg_pool.cu's.
#include <bit>

#include "cuda/indexing.cuh"
#include "cuda/pool/channel_vectors.cuh"
#include "cuda/pool/pool_launch.h"
#include "cuda/pool/strided_axis.cuh"
#include "cuda/primitives/ldst.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

constexpr int threads = pool_threads, run = 64;
// The second launch bound: left to choose an occupancy, ptxas spills. Doubles take two registers.
template <class T>
constexpr int blocks = sizeof(T) == 8 ? 2 : 4;

/// `taps` positions inside the input from `begin` on; `count` is the axis' factor of the divisor.
struct Window {
  int begin, taps, count;
};

/// One axis of a problem: AvgPoolProblem's arithmetic in 32 bits and without divisions.
struct Axis : StridedAxis {
  bool adaptive, include_pad;
  FastDivmod64 by_size, by_windows;

  Axis(const AvgPoolProblem& p, int axis)
      : StridedAxis(p, axis),
        adaptive(p.adaptive),
        include_pad(p.count_include_pad),
        by_size(p.input[axis]),
        by_windows(windows > 0 ? windows : 1) {}

  __device__ __forceinline__ Window window_at(int64_t o) const {
    if (adaptive) {
      const int begin = narrow(by_windows.divide(o * size));
      const int end = narrow(by_windows.divide((o + 1) * size + windows - 1));
      return {begin, end - begin, end - begin};
    }
    const int start = start_of(o);
    const Taps inside = taps_inside(start);
    const int counted = include_pad ? taps_before(start, size + pad) : inside.taps;
    return {inside.begin, inside.taps, max(counted, 1)};
  }

  /// All windows that have a tap at i; see covers().
  __device__ __forceinline__ Windows windows_at(int64_t i) const {
    if (adaptive)
      return {narrow(by_size.divide(i * windows)),
              narrow(by_size.divide((i + 1) * windows + size - 1))};
    return windows_over(i);
  }

  /// Whether window o, one of windows_at(i), has a tap just there, not beside it.
  __device__ __forceinline__ bool covers(int o, int64_t i) const {
    if (dilation == 1) return true;
    int beside;
    by_dilation.divmod(narrow(i) + pad - o * static_cast<int>(by_stride.divisor), beside);
    return beside == 0;
  }
};

/// A problem as the kernels want it: input x, output y, of elements that are vectors of channels.
template <int V>
struct AvgPoolGeometry {
  int64_t n;
  ElementShape<V> x, y;
  Axis d, h, w;
  int64_t divisor;  // 0 if windows differ

  explicit AvgPoolGeometry(const AvgPoolProblem& p)
      : n(p.n),
        x(p.layout, p.c / V, p.input),
        y(p.layout, p.c / V, p.output),
        d(p, 0),
        h(p, 1),
        w(p, 2),
        divisor(p.uniform_divisor()) {}
};

/// 1 / x for a whole number x > 0, by Newton's method: CUDA's division is a call, too slow for a
/// loop. The first guess, a well-known constant, is off by an eighth; each step squares the error.
__device__ __forceinline__ float reciprocal(float x) {
  float y = std::bit_cast<float>(0x7ef311c7u - std::bit_cast<uint32_t>(x));
  for (int step = 0; step < 4; ++step) y = fmaf(y, fmaf(-x, y, 1.0f), y);
  return y;
}
__device__ __forceinline__ double reciprocal(double x) {
  double y = reciprocal(static_cast<float>(x));
  for (int step = 0; step < 2; ++step) y = fma(y, fma(-x, y, 1.0), y);
  return y;
}

/// value / x from 1 / x, with the remainder divided as well: exact where a quotient is. An
/// infinite value has no remainder.
template <class A>
__device__ __forceinline__ A quotient(A value, A x, A reciprocal_of_x) {
  const A rough = value * reciprocal_of_x;
  const A fine = fma(fma(-rough, x, value), reciprocal_of_x, rough);
  return fine == fine ? fine : rough;
}

template <class T, int V>
__global__ void __launch_bounds__(threads, blocks<T>)
    avg_pool_forward(AvgPoolGeometry<V> p, const Vector<T, V>* __restrict__ input,
                     Vector<T, V>* __restrict__ output) {
  using A = accumulator_t<T>;
  const int64_t count = p.n * p.y.image_stride;
  const int64_t i = grid_thread();
  if (i >= count) return;
  const auto at = p.y.position(i);
  const Window d = p.d.window_at(at.d), h = p.h.window_at(at.h), w = p.w.window_at(at.w);
  const int64_t step_w = int64_t{p.w.dilation} * p.x.pixel_stride;
  const int64_t step_h = int64_t{p.h.dilation} * p.x.extent.w * p.x.pixel_stride;
  const int64_t step_d = int64_t{p.d.dilation} * p.x.extent.h * p.x.extent.w * p.x.pixel_stride;
  const int64_t first = p.x.offset(at.n, at.c, d.begin, h.begin, w.begin);
  A sum[V] = {};
  for (int t = 0; t < d.taps; ++t)
    for (int r = 0; r < h.taps; ++r) {
      int64_t offset = first + t * step_d + r * step_h;
      for (int s = 0; s < w.taps; s += run) {
        A part[V] = {};
        const int end = min(w.taps - s, run);
#pragma unroll 3
        for (int i = 0; i < end; ++i, offset += step_w)
          add_to(part, load_global_readonly<Vector<T, V>>(input + offset));
#pragma unroll
        for (int v = 0; v < V; ++v) sum[v] += part[v];
      }
    }
  const int64_t counted = static_cast<int64_t>(d.count) * h.count * w.count;
  const auto divisor = static_cast<A>(p.divisor != 0 ? p.divisor : counted);
#pragma unroll
  for (int v = 0; v < V; ++v) sum[v] /= divisor;
  store_global(output + i, rounded<T, V>(sum));
}

template <class T, int V>
__global__ void __launch_bounds__(threads, blocks<T>)
    avg_pool_backward(AvgPoolGeometry<V> p, const Vector<T, V>* __restrict__ grad_output,
                      Vector<T, V>* __restrict__ grad_input) {
  using A = accumulator_t<T>;
  const int64_t count = p.n * p.x.image_stride;
  const int64_t i = grid_thread();
  if (i >= count) return;
  const auto at = p.x.position(i);
  const Windows zs = p.d.windows_at(at.d), ps = p.h.windows_at(at.h), qs = p.w.windows_at(at.w);
  const bool uniform = p.divisor != 0;
  A sum[V] = {}, divisor = 0, inverse = 0;
  for (int z = zs.first; z < zs.end; ++z) {
    if (!p.d.covers(z, at.d)) continue;
    for (int h = ps.first; h < ps.end; ++h) {
      if (!p.h.covers(h, at.h)) continue;
      const int64_t rows =
          uniform ? 1 : static_cast<int64_t>(p.d.window_at(z).count) * p.h.window_at(h).count;
      const Vector<T, V>* window = grad_output + p.y.offset(at.n, at.c, z, h, qs.first);
      for (int q = qs.first; q < qs.end; ++q, window += p.y.pixel_stride) {
        if (!p.w.covers(q, at.w)) continue;
        const auto gradient = load_global_readonly<Vector<T, V>>(window);
        if (uniform) {
          add_to(sum, gradient);
          continue;
        }
        const A counted = static_cast<A>(rows * p.w.window_at(q).count);
        if (counted != divisor) {
          divisor = counted;
          inverse = reciprocal(divisor);
        }
#pragma unroll
        for (int v = 0; v < V; ++v)
          sum[v] += quotient(static_cast<A>(gradient[v]), divisor, inverse);
      }
    }
  }
  if (uniform)
#pragma unroll
    for (int v = 0; v < V; ++v) sum[v] /= static_cast<A>(p.divisor);
  store_global(grad_input + i, rounded<T, V>(sum));
}

template <class T, int V>
void launch(const AvgPoolProblem& p, const AvgPoolTensors& tensors, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(pool_blocks(p.result_elements() / V))), block(threads);
  const AvgPoolGeometry<V> geometry(p);
  auto* input = static_cast<Vector<T, V>*>(tensors.input);
  auto* output = static_cast<Vector<T, V>*>(tensors.output);
  if (p.direction == AvgPoolDirection::forward)
    CNNKERN_LAUNCH((avg_pool_forward<T, V>), grid, block, 0, stream, geometry, input, output);
  else CNNKERN_LAUNCH((avg_pool_backward<T, V>), grid, block, 0, stream, geometry, output, input);
}

}  // namespace

void launch_avg_pool(const PoolPlan& plan, const AvgPoolProblem& problem,
                     const AvgPoolTensors& tensors, cudaStream_t stream) {
  if (plan.grid[0] == 0) return;  // an empty result
  const bool vectors = plan.vector > 1 && aligned(tensors.input, 16) && aligned(tensors.output, 16);
  if (plan.kernel == global_avg_pool)
    return launch_global_avg_pool(problem, tensors, vectors, stream);
  dispatch(problem.dtype, [&](auto zero) {
    using T = decltype(zero);
    vectors ? launch<T, wide<T>>(problem, tensors, stream) : launch<T, 1>(problem, tensors, stream);
  });
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
