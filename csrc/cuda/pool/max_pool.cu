// Max pooling, forward and backward, any shape, both layouts.
//
// forward: one thread makes one output; it clips its window to the input once, by arithmetic, and
// walks the taps that are left in row-major order. Of a maximum it keeps the distance from the
// window's first tap, which becomes an index at the end; without indices it keeps none.
// backward: gather-style. One thread owns one input element, finds the windows that cover it by
// range arithmetic, and sums the gradients of those whose saved index names it. No atomics, so the
// order is fixed and the result repeats bit for bit; sums are kept in float (double for float64).
// gather: the derivative of backward: reads the input at the saved indices.
// In channels last an "element" is a vector of channels (channel_vectors.cuh): 16 bytes of them, or
// two where int64 indices go along, so that the 16 bytes are indices; neighbouring threads then
// share no sector. Threads walk the result in memory order: along w in N C D H W, along c in
// channels last. No shared memory: window overlap is left to the caches. A grid of 2^31 blocks
// covers 2^39 elements, more than any GPU holds.
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

/// A problem as the kernels want it: input x, output y, of elements that are vectors of channels.
template <int V>
struct PoolGeometry {
  int64_t n;
  ElementShape<V> x, y;
  StridedAxis d, h, w;

  explicit PoolGeometry(const PoolProblem& p)
      : n(p.n),
        x(p.layout, p.c / V, p.input),
        y(p.layout, p.c / V, p.output),
        d(p, 0),
        h(p, 1),
        w(p, 2) {}

  /// The position in its plane of a pixel of the input.
  __device__ __forceinline__ int64_t index(int64_t at_d, int64_t at_h, int64_t at_w) const {
    return (at_d * x.extent.h + at_h) * x.extent.w + at_w;
  }
};

template <class T, int V, bool with_indices>
__global__ void __launch_bounds__(threads, blocks)
    max_pool_forward(PoolGeometry<V> p, const Vector<T, V>* __restrict__ input,
                     Vector<T, V>* __restrict__ output, Vector<int64_t, V>* __restrict__ indices) {
  using A = accumulator_t<T>;
  using Distance = std::conditional_t<V == 1, int64_t, int>;  // inside a window; see the plan
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
  Distance best_at[V];
#pragma unroll
  for (int v = 0; v < V; ++v) best[v] = -INFINITY, best_at[v] = 0;
  for (int t = 0; t < ds.taps; ++t)
    for (int r = 0; r < hs.taps; ++r) {
      Distance distance = t * step_d + r * step_h;
      const Vector<T, V>* tap = first + distance * p.x.pixel_stride;
#pragma unroll 3
      for (int s = 0; s < ws.taps; ++s) {
        const auto values = load_global_readonly<Vector<T, V>>(tap);
#pragma unroll
        for (int v = 0; v < V; ++v) {
          const A value = static_cast<A>(values[v]);
          if (value > best[v] || value != value)
            best[v] = value, best_at[v] = distance;  // NaN wins
        }
        distance += p.w.dilation;
        tap += step;
      }
    }
  store_global(output + i, rounded<T, V>(best));
  if constexpr (with_indices) {
    const bool empty = ds.taps == 0 || hs.taps == 0 || ws.taps == 0;
    const int64_t first_index = p.index(ds.begin, hs.begin, ws.begin);
    Vector<int64_t, V> index;
#pragma unroll
    for (int v = 0; v < V; ++v) index[v] = empty ? -1 : first_index + best_at[v];
    store_global(indices + i, index);
  }
}

template <class T, int V>
__global__ void __launch_bounds__(threads, blocks)
    max_pool_backward(PoolGeometry<V> p, const Vector<T, V>* __restrict__ grad_output,
                      const Vector<int64_t, V>* __restrict__ indices,
                      Vector<T, V>* __restrict__ grad_input) {
  using A = accumulator_t<T>;
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
#pragma unroll 2
      for (int q = qs.first; q < qs.end; ++q, window += p.y.pixel_stride) {
        const auto index = load_global_readonly<Vector<int64_t, V>>(indices + window);
        const auto gradient = load_global_readonly<Vector<T, V>>(grad_output + window);
#pragma unroll
        for (int v = 0; v < V; ++v)
          if (index[v] == own_index) sum[v] += static_cast<A>(gradient[v]);
      }
    }
  store_global(grad_input + i, rounded<T, V>(sum));
}

template <class T>
__global__ void __launch_bounds__(threads, blocks)
    max_pool_gather(PoolGeometry<1> p, const T* __restrict__ input,
                    const int64_t* __restrict__ indices, T* __restrict__ output) {
  const int64_t count = p.n * p.y.image_stride;
  const int64_t i = grid_thread();
  if (i >= count) return;
  const Position at = p.y.position(i);
  const int64_t index = load_global_readonly<int64_t>(indices + i);
  const bool inside = index >= 0 && index < p.x.volume;
  const int64_t plane = p.x.offset(at.n, at.c, 0, 0, 0);
  store_global(output + i, inside
                               ? load_global_readonly<T>(input + plane + index * p.x.pixel_stride)
                               : T(0.0f));
}

template <class T, int V, bool with_indices>
void launch_forward(const PoolProblem& p, const PoolTensors& tensors, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(pool_blocks(p.output_elements() / V)));
  CNNKERN_LAUNCH((max_pool_forward<T, V, with_indices>), grid, dim3(threads), 0, stream,
                 PoolGeometry<V>(p), static_cast<const Vector<T, V>*>(tensors.input),
                 static_cast<Vector<T, V>*>(tensors.output),
                 reinterpret_cast<Vector<int64_t, V>*>(tensors.indices));
}

template <class T, int V>
void launch_backward(const PoolProblem& p, const PoolTensors& tensors, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(pool_blocks(p.input_elements() / V)));
  CNNKERN_LAUNCH((max_pool_backward<T, V>), grid, dim3(threads), 0, stream, PoolGeometry<V>(p),
                 static_cast<const Vector<T, V>*>(tensors.output),
                 reinterpret_cast<const Vector<int64_t, V>*>(tensors.indices),
                 static_cast<Vector<T, V>*>(tensors.input));
}

template <class T>
void launch_gather(const PoolProblem& p, const PoolTensors& tensors, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(pool_blocks(p.output_elements())));
  CNNKERN_LAUNCH((max_pool_gather<T>), grid, dim3(threads), 0, stream, PoolGeometry<1>(p),
                 static_cast<const T*>(tensors.input), tensors.indices,
                 static_cast<T*>(tensors.output));
}

}  // namespace

void launch_pool(const PoolPlan& plan, const PoolProblem& problem, const PoolTensors& tensors,
                 cudaStream_t stream) {
  if (plan.grid[0] == 0) return;  // an empty result
  const auto bytes = static_cast<size_t>(plan.vector * size_of(problem.dtype));
  const bool vectors = plan.vector > 1 && aligned(tensors.input, bytes) &&
                       aligned(tensors.output, bytes) && aligned(tensors.indices, 16);
  const bool forward = problem.direction == PoolDirection::forward;
  dispatch(problem.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto launch = problem.direction == PoolDirection::gather ? launch_gather<T>
                        : !forward && vectors                      ? launch_backward<T, 2>
                        : !forward                                 ? launch_backward<T, 1>
                        : problem.indices && vectors               ? launch_forward<T, 2, true>
                        : problem.indices                          ? launch_forward<T, 1, true>
                        : vectors ? launch_forward<T, wide<T>, false>
                                  : launch_forward<T, 1, false>;
    launch(problem, tensors, stream);
  });
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
