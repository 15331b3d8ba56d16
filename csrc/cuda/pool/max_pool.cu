// Max pooling, forward and backward, any shape, both layouts.
//
// forward: one thread makes one output; it clips its window to the input once, by arithmetic, and
// walks the taps that are left in row-major order. Of a maximum it keeps the distance from the
// window's first tap, which becomes an index at the end, or, for offsets of one byte, the tap's
// number; without indices it keeps none.
// backward: gather-style. One thread owns one input element, finds the windows that cover it by
// range arithmetic, and sums the gradients of those whose saved index names it, or whose saved
// offset is the number of the tap that reads it. No atomics, so the order is fixed and the result
// repeats bit for bit; sums are kept in float (double for float64).
// gather: the derivative of backward: reads the input at the saved indices.
// In channels last an "element" is a vector of channels (channel_vectors.cuh): 16 bytes of them, or
// two where int64 indices go along, so that the 16 bytes are indices; neighbouring threads then
// share no sector. Offsets go along with 16 bytes of channels, two to eight of them at a time.
// Threads walk the result in memory order: along w in N C D H W, along c in channels last. No
// shared memory: window overlap is left to the caches. A grid of 2^31 blocks covers 2^39 elements,
// more than any GPU holds.
#include <stdexcept>
#include <type_traits>

#include "cuda/indexing.cuh"
#include "cuda/pool/channel_vectors.cuh"
#include "cuda/pool/pool_launch.h"
#include "cuda/pool/strided_axis.cuh"
#include "cuda/primitives/ldst.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

// With the second bound ptxas takes the registers it needs; left to choose an occupancy it spills.
constexpr int threads = pool_threads, blocks = 4;

template <PoolIndices indices>
using Index = std::conditional_t<indices == PoolIndices::offsets, uint8_t, int64_t>;

/// A problem as the kernels want it: input x, output y, of elements that are vectors of channels.
template <int V>
struct PoolGeometry {
  int64_t n;
  ElementShape<V> x, y;
  StridedAxis d, h, w;
  FastDivmod by_h_taps, by_w_taps;

  explicit PoolGeometry(const PoolProblem& p)
      : n(p.n),
        x(p.layout, p.c / V, p.input),
        y(p.layout, p.c / V, p.output),
        d(p, 0),
        h(p, 1),
        w(p, 2),
        by_h_taps(p.window.h),
        by_w_taps(p.window.w) {}

  /// The position in its plane of a pixel of the input.
  __device__ __forceinline__ int64_t index(int64_t at_d, int64_t at_h, int64_t at_w) const {
    return (at_d * x.extent.h + at_h) * x.extent.w + at_w;
  }

  /// The number of a tap in its window.
  __device__ __forceinline__ int number(int t, int r, int s) const {
    return (t * h.taps + r) * w.taps + s;
  }

  /// The index of the tap of that number of a window; -1 if it has no such tap.
  __device__ __forceinline__ int64_t index_of_tap(const Position& window, int number) const {
    int r, s;
    const int t = by_h_taps.divmod(by_w_taps.divmod(number, s), r);
    if (t >= d.taps) return -1;
    return index(d.start_of(window.d) + t * d.dilation, h.start_of(window.h) + r * h.dilation,
                 w.start_of(window.w) + s * w.dilation);
  }
};

template <class T, int V, PoolIndices saved>
__global__ void __launch_bounds__(threads, blocks)
    max_pool_forward(PoolGeometry<V> p, const Vector<T, V>* __restrict__ input,
                     Vector<T, V>* __restrict__ output,
                     Vector<Index<saved>, V>* __restrict__ indices) {
  using A = accumulator_t<T>;
  using Distance = std::conditional_t<V == 1, int64_t, int>;  // inside a window; see the plan
  constexpr bool offsets = saved == PoolIndices::offsets;
  using Place = std::conditional_t<offsets, int, Distance>;  // a tap's number, or its distance
  const int64_t count = p.n * p.y.image_stride;
  const int64_t i = grid_thread();
  if (i >= count) return;
  const auto at = p.y.position(i);
  const Taps ds = p.d.taps_inside(p.d.start_of(at.d));
  const Taps hs = p.h.taps_inside(p.h.start_of(at.h));
  const Taps ws = p.w.taps_inside(p.w.start_of(at.w));
  const auto step_d = static_cast<Distance>(int64_t{p.d.dilation} * p.x.extent.h * p.x.extent.w);
  const auto step_h = static_cast<Distance>(int64_t{p.h.dilation} * p.x.extent.w);
  const int64_t step = int64_t{p.w.dilation} * p.x.pixel_stride;
  const Vector<T, V>* const first = input + p.x.offset(at.n, at.c, ds.begin, hs.begin, ws.begin);
  A best[V];
  Place best_at[V];
#pragma unroll
  for (int v = 0; v < V; ++v) best[v] = -INFINITY, best_at[v] = 0;
  for (int t = 0; t < ds.taps; ++t)
    for (int r = 0; r < hs.taps; ++r) {
      const Distance distance = t * step_d + r * step_h;
      const Vector<T, V>* tap = first + distance * p.x.pixel_stride;
      Place place = offsets ? p.number(t, r, 0) : static_cast<Place>(distance);
#pragma unroll 3
      for (int s = 0; s < ws.taps; ++s) {
        const auto values = load_global_readonly<Vector<T, V>>(tap);
#pragma unroll
        for (int v = 0; v < V; ++v) {
          const A value = static_cast<A>(values[v]);
          if (value > best[v] || value != value) best[v] = value, best_at[v] = place;  // NaN wins
        }
        place += offsets ? 1 : p.w.dilation;
        tap += step;
      }
    }
  store_global(output + i, rounded<T, V>(best));
  if constexpr (saved != PoolIndices::none) {
    const bool empty = ds.taps == 0 || hs.taps == 0 || ws.taps == 0;
    const int64_t first_index =
        offsets ? p.number(ds.first, hs.first, ws.first) : p.index(ds.begin, hs.begin, ws.begin);
    Vector<Index<saved>, V> index;
#pragma unroll
    for (int v = 0; v < V; ++v)
      index[v] = static_cast<Index<saved>>(empty ? -1 : first_index + best_at[v]);
    store_global(indices + i, index);
  }
}

template <class T, int V, PoolIndices saved>
__global__ void __launch_bounds__(threads, blocks)
    max_pool_backward(PoolGeometry<V> p, const Vector<T, V>* __restrict__ grad_output,
                      const Vector<Index<saved>, V>* __restrict__ indices,
                      Vector<T, V>* __restrict__ grad_input) {
  using A = accumulator_t<T>;
  constexpr bool offsets = saved == PoolIndices::offsets;
  const int64_t count = p.n * p.x.image_stride;
  const int64_t i = grid_thread();
  if (i >= count) return;
  const auto at = p.x.position(i);
  const int64_t own_index = p.index(at.d, at.h, at.w);
  const Windows zs = p.d.windows_over(at.d), ps = p.h.windows_over(at.h);
  const Windows qs = p.w.windows_over(at.w);
  A sum[V] = {};
  for (int z = zs.first; z < zs.end; ++z)
    for (int h = ps.first; h < ps.end; ++h) {
      auto window = p.y.offset(at.n, at.c, z, h, qs.first);
      int row = 0;  // the number of the first tap of the row of taps that reads this row
      if constexpr (offsets) {
        const int t = p.d.tap_at(at.d, z), r = p.h.tap_at(at.h, h);
        if (t < 0 || r < 0) continue;
        row = p.number(t, r, 0);
      }
#pragma unroll 2
      for (int q = qs.first; q < qs.end; ++q, window += p.y.pixel_stride) {
        std::conditional_t<offsets, int, int64_t> own;
        if constexpr (offsets) {
          const int s = p.w.tap_at(at.w, q);
          own = s < 0 ? -1 : row + s;
        } else {
          own = own_index;
        }
        const auto index = load_global_readonly<Vector<Index<saved>, V>>(indices + window);
        const auto gradient = load_global_readonly<Vector<T, V>>(grad_output + window);
#pragma unroll
        for (int v = 0; v < V; ++v)
          if (index[v] == own) sum[v] += static_cast<A>(gradient[v]);
      }
    }
  store_global(grad_input + i, rounded<T, V>(sum));
}

template <class T, PoolIndices saved>
__global__ void __launch_bounds__(threads, blocks)
    max_pool_gather(PoolGeometry<1> p, const T* __restrict__ input,
                    const Index<saved>* __restrict__ indices, T* __restrict__ output) {
  const int64_t count = p.n * p.y.image_stride;
  const int64_t i = grid_thread();
  if (i >= count) return;
  const Position at = p.y.position(i);
  int64_t index = load_global_readonly<Index<saved>>(indices + i);
  if constexpr (saved == PoolIndices::offsets) index = p.index_of_tap(at, static_cast<int>(index));
  const bool inside = index >= 0 && index < p.x.volume;
  const int64_t plane = p.x.offset(at.n, at.c, 0, 0, 0);
  store_global(output + i, inside
                               ? load_global_readonly<T>(input + plane + index * p.x.pixel_stride)
                               : T(0.0f));
}

template <PoolIndices saved>
Index<saved>* saved_in(const PoolTensors& tensors) {
  if constexpr (saved == PoolIndices::offsets) return tensors.offsets;
  else return tensors.indices;
}

template <class T, int V, PoolIndices saved>
void launch_forward(const PoolProblem& p, const PoolTensors& tensors, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(pool_blocks(p.output_elements() / V)));
  CNNKERN_LAUNCH((max_pool_forward<T, V, saved>), grid, dim3(threads), 0, stream,
                 PoolGeometry<V>(p), static_cast<const Vector<T, V>*>(tensors.input),
                 static_cast<Vector<T, V>*>(tensors.output),
                 reinterpret_cast<Vector<Index<saved>, V>*>(saved_in<saved>(tensors)));
}

template <class T, int V, PoolIndices saved>
void launch_backward(const PoolProblem& p, const PoolTensors& tensors, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(pool_blocks(p.input_elements() / V)));
  CNNKERN_LAUNCH((max_pool_backward<T, V, saved>), grid, dim3(threads), 0, stream,
                 PoolGeometry<V>(p), static_cast<const Vector<T, V>*>(tensors.output),
                 reinterpret_cast<const Vector<Index<saved>, V>*>(saved_in<saved>(tensors)),
                 static_cast<Vector<T, V>*>(tensors.input));
}

template <class T, PoolIndices saved>
void launch_gather(const PoolProblem& p, const PoolTensors& tensors, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(pool_blocks(p.output_elements())));
  CNNKERN_LAUNCH((max_pool_gather<T, saved>), grid, dim3(threads), 0, stream, PoolGeometry<1>(p),
                 static_cast<const T*>(tensors.input), saved_in<saved>(tensors),
                 static_cast<T*>(tensors.output));
}

template <class T, PoolIndices saved>
auto launcher(PoolDirection direction, bool vectors) {
  constexpr int V = saved == PoolIndices::positions ? 2 : wide<T>;
  if (direction == PoolDirection::forward)
    return vectors ? launch_forward<T, V, saved> : launch_forward<T, 1, saved>;
  if constexpr (saved == PoolIndices::none)
    throw std::invalid_argument("max_pool: this direction needs indices");
  else if (direction == PoolDirection::gather) return launch_gather<T, saved>;
  else return vectors ? launch_backward<T, V, saved> : launch_backward<T, 1, saved>;
}

}  // namespace

void launch_pool(const PoolPlan& plan, const PoolProblem& problem, const PoolTensors& tensors,
                 cudaStream_t stream) {
  if (plan.grid[0] == 0) return;  // an empty result
  const auto bytes = static_cast<size_t>(plan.vector * size_of(problem.dtype));
  const bool vectors = plan.vector > 1 && aligned(tensors.input, bytes) &&
                       aligned(tensors.output, bytes) && aligned(tensors.indices, 16) &&
                       aligned(tensors.offsets, static_cast<size_t>(plan.vector));
  dispatch(problem.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto launch = problem.indices == PoolIndices::offsets ? launcher<T, PoolIndices::offsets>
                        : problem.indices == PoolIndices::positions
                            ? launcher<T, PoolIndices::positions>
                            : launcher<T, PoolIndices::none>;
    launch(problem.direction, vectors)(problem, tensors, stream);
  });
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
