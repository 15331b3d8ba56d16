// Max pooling over adaptive and fractional windows, forward and backward, and unpooling; any shape,
// both layouts.
//
// forward: one thread makes one output. It finds its window of each axis by arithmetic, and walks
// the taps in row-major order.
// backward: gather-style. One thread owns one input element; the windows over a coordinate are
// neighbours, since begins never fall: for adaptive ones arithmetic gives the first and the last,
// for fractional ones a binary search over the begins does. It sums the gradients of those whose
// saved index names its element. No atomics, so the order is fixed and the result repeats bit for
// bit; sums are kept in float (double for float64).
// unpool: one warp owns one plane. It clears the plane, then places 32 values at a time, in their
// order; of lanes that name one position the highest stores, so the last value stays, as in a loop.
// Planes alone are parallel. An index outside its plane writes nothing.
// In the first two, threads walk the result in memory order, so loads of neighbouring threads fall
// together; adaptive ones in channels last make two channels a thread, whose indices are 16 bytes
// (channel_vectors.cuh). No shared memory: window overlap is left to the caches.
#include "cuda/indexing.cuh"
#include "cuda/pool/channel_vectors.cuh"
#include "cuda/pool/pool_launch.h"
#include "cuda/primitives/ldst.cuh"
#include "cuda/primitives/warp.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

constexpr int threads = pool_threads;
// The second launch bound: left to choose an occupancy, ptxas spills. Doubles take two registers.
template <class T>
constexpr int blocks = sizeof(T) == 8 ? 2 : 4;

// Coordinates along one axis fit 32 bits (the plan sees to it); offsets in a tensor do not.
__device__ __forceinline__ int narrow(int64_t value) { return static_cast<int>(value); }

/// Elements, or windows, begin, …, end − 1 of one axis.
struct Range {
  int begin, end;
};

/// One axis of a problem.
template <class T>
struct Axis {
  using A = accumulator_t<T>;
  int size, windows, taps;
  int sample;  // which of its plane's samples; -1 if windows are adaptive
  FastDivmod64 by_size, by_windows;
  FractionalAxis<T> fractional;

  Axis(const WindowPoolProblem& p, int axis)
      : size(static_cast<int>(p.input[axis])),
        windows(static_cast<int>(p.output[axis])),
        taps(static_cast<int>(p.window[axis])),
        sample(p.fractional ? axis - 3 + p.spatial_dims : -1),
        by_size(p.input[axis]),
        by_windows(windows > 0 ? windows : 1),
        fractional(p.input[axis], p.window[axis], p.output[axis]) {}

  /// A plane's sample of this axis.
  __device__ __forceinline__ A sample_of(const T* samples) const {
    return sample < 0 ? A(0) : load_as_accumulator(samples + sample);
  }

  __device__ __forceinline__ Range window_at(int64_t o, A sample_) const {
    if (sample < 0)
      return {narrow(by_windows.divide(o * size)),
              narrow(by_windows.divide((o + 1) * size + windows - 1))};
    const int begin = narrow(fractional.begin(o, sample_));
    return {begin, begin + taps};
  }

  /// All windows that have a tap at i.
  __device__ __forceinline__ Range windows_over(int64_t i, A sample_) const {
    if (sample < 0)
      return {narrow(by_size.divide(i * windows)),
              narrow(by_size.divide((i + 1) * windows + size - 1))};
    return {first_from(i - taps + 1, sample_), first_from(i + 1, sample_)};
  }

 private:
  /// The first fractional window that begins at `at` or later.
  __device__ __forceinline__ int first_from(int64_t at, A sample_) const {
    int low = 0, high = windows;
    while (low < high) {
      const int middle = low + (high - low) / 2;
      if (fractional.begin(middle, sample_) < at) low = middle + 1;
      else high = middle;
    }
    return low;
  }
};

/// A problem as the kernels want it: input x, output y, of elements that are vectors of channels.
template <class T, int V>
struct WindowPoolGeometry {
  int64_t n, channels;
  int dims;
  ElementShape<V> x, y;
  Axis<T> d, h, w;

  explicit WindowPoolGeometry(const WindowPoolProblem& p)
      : n(p.n),
        channels(p.c),
        dims(p.spatial_dims),
        x(p.layout, p.c / V, p.input),
        y(p.layout, p.c / V, p.output),
        d(p, 0),
        h(p, 1),
        w(p, 2) {}

  /// A plane's samples; there are none for vectors, whose channels would have different windows.
  __device__ __forceinline__ const T* samples_of(const T* samples, int64_t image, int64_t c) const {
    return V == 1 && samples ? samples + (image * channels + c) * dims : nullptr;
  }
};

template <class T, int V>
__global__ void __launch_bounds__(threads, blocks<T>)
    window_max_pool_forward(WindowPoolGeometry<T, V> p, const Vector<T, V>* __restrict__ input,
                            const T* __restrict__ samples, Vector<T, V>* __restrict__ output,
                            Vector<int64_t, V>* __restrict__ indices) {
  using A = accumulator_t<T>;
  const int64_t count = p.n * p.y.image_stride;
  const int64_t i = grid_thread();
  if (i >= count) return;
  const auto at = p.y.position(i);
  const T* const own = p.samples_of(samples, at.n, at.c);
  const Range ds = p.d.window_at(at.d, p.d.sample_of(own));
  const Range hs = p.h.window_at(at.h, p.h.sample_of(own));
  const Range ws = p.w.window_at(at.w, p.w.sample_of(own));
  A best[V];
  Vector<int64_t, V> best_index;
#pragma unroll
  for (int v = 0; v < V; ++v) best[v] = -INFINITY, best_index[v] = -1;
  for (int d = ds.begin; d < ds.end; ++d)
    for (int h = hs.begin; h < hs.end; ++h) {
      int64_t index = (d * p.x.extent.h + h) * p.x.extent.w + ws.begin;
      const Vector<T, V>* tap = input + p.x.offset(at.n, at.c, d, h, ws.begin);
      for (int w = ws.begin; w < ws.end; ++w, ++index, tap += p.x.pixel_stride) {
        const auto values = load_global_readonly<Vector<T, V>>(tap);
#pragma unroll
        for (int v = 0; v < V; ++v) {
          const A value = static_cast<A>(values[v]);
          if (value > best[v] || value != value || best_index[v] < 0)  // NaN wins
            best[v] = value, best_index[v] = index;
        }
      }
    }
  store_global(output + i, rounded<T, V>(best));
  store_global(indices + i, best_index);
}

template <class T, int V>
__global__ void __launch_bounds__(threads, blocks<T>)
    window_max_pool_backward(WindowPoolGeometry<T, V> p,
                             const Vector<T, V>* __restrict__ grad_output,
                             const Vector<int64_t, V>* __restrict__ indices,
                             const T* __restrict__ samples, Vector<T, V>* __restrict__ grad_input) {
  using A = accumulator_t<T>;
  const int64_t count = p.n * p.x.image_stride;
  const int64_t i = grid_thread();
  if (i >= count) return;
  const auto at = p.x.position(i);
  const int64_t own_index = (at.d * p.x.extent.h + at.h) * p.x.extent.w + at.w;
  const T* const own = p.samples_of(samples, at.n, at.c);
  const Range zs = p.d.windows_over(at.d, p.d.sample_of(own));
  const Range ps = p.h.windows_over(at.h, p.h.sample_of(own));
  const Range qs = p.w.windows_over(at.w, p.w.sample_of(own));
  A sum[V] = {};
  for (int z = zs.begin; z < zs.end; ++z)
    for (int h = ps.begin; h < ps.end; ++h) {
      auto window = p.y.offset(at.n, at.c, z, h, qs.begin);
      for (int q = qs.begin; q < qs.end; ++q, window += p.y.pixel_stride) {
        const auto index = load_global_readonly<Vector<int64_t, V>>(indices + window);
        const auto gradient = load_global_readonly<Vector<T, V>>(grad_output + window);
#pragma unroll
        for (int v = 0; v < V; ++v)
          if (index[v] == own_index) sum[v] += static_cast<A>(gradient[v]);
      }
    }
  store_global(grad_input + i, rounded<T, V>(sum));
}

/// The planes of an unpooling: `from` values each, `to` positions.
struct UnpoolGeometry {
  int64_t planes;
  TensorShape from, to;

  explicit UnpoolGeometry(const WindowPoolProblem& p)
      : planes(p.n * p.c), from(p.layout, p.c, p.output), to(p.layout, p.c, p.input) {}
};

template <class T>
__global__ void __launch_bounds__(threads)
    max_unpool(UnpoolGeometry p, const T* __restrict__ input, const int64_t* __restrict__ indices,
               T* __restrict__ output) {
  const int64_t plane = grid_thread() / 32;
  if (plane >= p.planes) return;
  int64_t c;
  const int64_t n = p.from.by_channels.divmod(plane, c);
  const int lane = lane_index(), values = narrow(p.from.volume), positions = narrow(p.to.volume);
  const int64_t source = p.from.offset(n, c, 0, 0, 0);
  T* const to = output + p.to.offset(n, c, 0, 0, 0);
  for (int i = lane; i < positions; i += 32) store_global(to + i * p.to.pixel_stride, T(0.0f));
  for (int first = 0; first < values; first += 32) {
    const int i = first + lane;
    const int64_t at = source + i * p.from.pixel_stride;
    const int64_t index = i < values ? load_global_readonly<int64_t>(indices + at) : -1;
    bool stores = index >= 0 && index < positions;
    const int position = stores ? narrow(index) : -1;
    for (int delta = 1; delta < 32; ++delta) {
      const int later = shuffle_down(full_warp, position, delta);
      stores = stores && (lane + delta >= 32 || later != position);
    }
    sync_warp(full_warp);  // the stores before, of other lanes, come first
    if (stores)
      store_global(to + position * p.to.pixel_stride, load_global_readonly<T>(input + at));
  }
}

template <class T, int V>
void launch_windows(const WindowPoolProblem& p, const WindowPoolTensors& tensors,
                    cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(pool_blocks(p.result_elements() / V))), block(threads);
  const WindowPoolGeometry<T, V> geometry(p);
  auto* input = static_cast<Vector<T, V>*>(tensors.input);
  auto* output = static_cast<Vector<T, V>*>(tensors.output);
  auto* indices = reinterpret_cast<Vector<int64_t, V>*>(tensors.indices);
  const auto* samples = static_cast<const T*>(tensors.samples);
  if (p.direction == WindowPoolDirection::forward)
    CNNKERN_LAUNCH((window_max_pool_forward<T, V>), grid, block, 0, stream, geometry, input,
                   samples, output, indices);
  else
    CNNKERN_LAUNCH((window_max_pool_backward<T, V>), grid, block, 0, stream, geometry, output,
                   indices, samples, input);
}

template <class T>
void launch_unpool(const PoolPlan& plan, const WindowPoolProblem& p,
                   const WindowPoolTensors& tensors, cudaStream_t stream) {
  CNNKERN_LAUNCH((max_unpool<T>), dim3(static_cast<unsigned>(plan.grid[0])), dim3(threads), 0,
                 stream, UnpoolGeometry(p), static_cast<const T*>(tensors.output), tensors.indices,
                 static_cast<T*>(tensors.input));
}

}  // namespace

void launch_window_pool(const PoolPlan& plan, const WindowPoolProblem& problem,
                        const WindowPoolTensors& tensors, cudaStream_t stream) {
  if (plan.grid[0] == 0) return;  // an empty result
  const auto bytes = static_cast<size_t>(plan.vector * size_of(problem.dtype));
  const bool vectors = plan.vector > 1 && aligned(tensors.input, bytes) &&
                       aligned(tensors.output, bytes) && aligned(tensors.indices, 16);
  dispatch(problem.dtype, [&](auto zero) {
    using T = decltype(zero);
    if (problem.direction == WindowPoolDirection::unpool)
      launch_unpool<T>(plan, problem, tensors, stream);
    else if (vectors) launch_windows<T, 2>(problem, tensors, stream);
    else launch_windows<T, 1>(problem, tensors, stream);
  });
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
