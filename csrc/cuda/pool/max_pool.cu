// Max pooling, forward and backward, any shape, both layouts.
//
// forward: one thread makes one output; it clips its window to the input once, by arithmetic, and
// walks the taps that are left in row-major order. Indices are written only if asked for.
// backward: gather-style. One thread owns one input element, finds the windows that cover it by
// range arithmetic, and sums the gradients of those whose saved index names it. No atomics, so the
// order is fixed and the result repeats bit for bit; sums are kept in float (double for float64).
// gather: the derivative of backward: reads the input at the saved indices.
// Threads walk the result in memory order: along w in N C D H W, along c in channels last, so loads
// of neighbouring threads fall together. No shared memory: window overlap is left to the caches. A
// grid of 2^31 blocks covers 2^39 elements, more than any GPU holds.
#include "cuda/indexing.cuh"
#include "cuda/pool/pool_launch.h"
#include "cuda/primitives/ldst.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

// With the second bound ptxas takes the registers it needs; left to choose an occupancy it spills.
constexpr int threads = pool_threads, blocks = 4;

/// A problem as the kernels want it: input x, output y.
struct PoolGeometry {
  int64_t n;
  TensorShape x, y;
  Extent3 window, stride, dilation, pad;

  explicit PoolGeometry(const PoolProblem& p)
      : n(p.n),
        x(p.layout, p.c, p.input),
        y(p.layout, p.c, p.output),
        window(p.window),
        stride(p.stride),
        dilation(p.dilation),
        pad(p.pad) {}
};

// Coordinates along one axis fit 32 bits (the plan sees to it); offsets in a tensor do not.
__device__ __forceinline__ int narrow(int64_t value) { return static_cast<int>(value); }

/// The taps first, first+1, …, end−1 of a window that lie inside the input along one axis.
struct TapRange {
  int first, end;
};

__device__ __forceinline__ TapRange taps_inside(int64_t start_, int64_t dilation_, int64_t taps_,
                                                int64_t size_) {
  const int start = narrow(start_), dilation = narrow(dilation_), size = narrow(size_);
  const int first = start >= 0 ? 0 : (-start + dilation - 1) / dilation;
  const int end = start >= size ? 0 : (size - start + dilation - 1) / dilation;
  return {first, min(end, narrow(taps_))};
}

template <class T>
__global__ void __launch_bounds__(threads, blocks)
    max_pool_forward(PoolGeometry p, const T* __restrict__ input, T* __restrict__ output,
                     int64_t* __restrict__ indices) {
  const int64_t count = p.n * p.y.image_stride;
  const int64_t i = grid_thread();
  if (i >= count) return;
  const Position at = p.y.position(i);
  const int64_t d0 = at.d * p.stride.d - p.pad.d, h0 = at.h * p.stride.h - p.pad.h,
                w0 = at.w * p.stride.w - p.pad.w;
  const TapRange ts = taps_inside(d0, p.dilation.d, p.window.d, p.x.extent.d);
  const TapRange rs = taps_inside(h0, p.dilation.h, p.window.h, p.x.extent.h);
  const TapRange ss = taps_inside(w0, p.dilation.w, p.window.w, p.x.extent.w);
  accumulator_t<T> best = -INFINITY;
  int64_t best_index = -1;
  for (int t = ts.first; t < ts.end; ++t)
    for (int r = rs.first; r < rs.end; ++r)
      for (int s = ss.first; s < ss.end; ++s) {
        const int64_t d = d0 + t * p.dilation.d, h = h0 + r * p.dilation.h,
                      w = w0 + s * p.dilation.w;
        const auto value = load_as_accumulator(input + p.x.offset(at.n, at.c, d, h, w));
        if (value > best || value != value || best_index < 0) {  // NaN wins
          best = value;
          best_index = (d * p.x.extent.h + h) * p.x.extent.w + w;
        }
      }
  store_global(output + i, T(best));
  if (indices) store_global(indices + i, best_index);
}

/// The windows first, …, last of one axis whose span covers input coordinate `at`.
struct WindowRange {
  int first, last;
};

__device__ __forceinline__ WindowRange windows_over(int64_t at, int64_t pad, int64_t stride_,
                                                    int64_t footprint, int64_t windows) {
  const int stride = narrow(stride_), end = narrow(at + pad);
  const int begin = end - narrow(footprint) + 1;  // windows that start in [begin, end] cover `at`
  return {begin <= 0 ? 0 : (begin + stride - 1) / stride, min(end / stride, narrow(windows) - 1)};
}

template <class T>
__global__ void __launch_bounds__(threads, blocks)
    max_pool_backward(PoolGeometry p, const T* __restrict__ grad_output,
                      const int64_t* __restrict__ indices, T* __restrict__ grad_input) {
  const int64_t count = p.n * p.x.image_stride;
  const int64_t i = grid_thread();
  if (i >= count) return;
  const Position at = p.x.position(i);
  const int64_t own_index = (at.d * p.x.extent.h + at.h) * p.x.extent.w + at.w;
  const WindowRange zs =
      windows_over(at.d, p.pad.d, p.stride.d, (p.window.d - 1) * p.dilation.d + 1, p.y.extent.d);
  const WindowRange ps =
      windows_over(at.h, p.pad.h, p.stride.h, (p.window.h - 1) * p.dilation.h + 1, p.y.extent.h);
  const WindowRange qs =
      windows_over(at.w, p.pad.w, p.stride.w, (p.window.w - 1) * p.dilation.w + 1, p.y.extent.w);
  accumulator_t<T> sum = 0;
  for (int z = zs.first; z <= zs.last; ++z)
    for (int h = ps.first; h <= ps.last; ++h)
      for (int q = qs.first; q <= qs.last; ++q) {
        const int64_t offset = p.y.offset(at.n, at.c, z, h, q);
        if (load_global_readonly<int64_t>(indices + offset) == own_index)
          sum += load_as_accumulator(grad_output + offset);
      }
  store_global(grad_input + i, T(sum));
}

template <class T>
__global__ void __launch_bounds__(threads, blocks)
    max_pool_gather(PoolGeometry p, const T* __restrict__ input,
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

}  // namespace

void launch_pool(const PoolPlan& plan, const PoolProblem& problem, const PoolTensors& tensors,
                 cudaStream_t stream) {
  if (plan.grid[0] == 0) return;  // an empty result
  const dim3 grid(static_cast<unsigned>(plan.grid[0])), block(threads);
  const PoolGeometry geometry(problem);
  dispatch(problem.dtype, [&](auto zero) {
    using T = decltype(zero);
    auto* input = static_cast<T*>(tensors.input);
    auto* output = static_cast<T*>(tensors.output);
    switch (problem.direction) {
      case PoolDirection::forward:
        CNNKERN_LAUNCH((max_pool_forward<T>), grid, block, 0, stream, geometry, input, output,
                       tensors.indices);
        break;
      case PoolDirection::backward:
        CNNKERN_LAUNCH((max_pool_backward<T>), grid, block, 0, stream, geometry, output,
                       tensors.indices, input);
        break;
      case PoolDirection::gather:
        CNNKERN_LAUNCH((max_pool_gather<T>), grid, block, 0, stream, geometry, input,
                       tensors.indices, output);
        break;
    }
  });
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
