// Unfold (im2col) and fold (col2im): one thread makes one number of the result, any shape.
//
// im2col: a thread finds the pixel that its place in the columns copies, or writes zero. Only bytes
// move, so there is one kernel for each size of a number, whatever it means.
// col2im: gather-style. A thread owns a pixel and adds, tap by tap in row-major order, the element
// of the one window, if any, that sees the pixel through that tap. No atomics, so the order is
// fixed and the result repeats bit for bit; sums are kept in float (double for float64).
// Complex elements are two numbers, each with a thread of its own, next to each other. Threads walk
// the result in memory order, so stores, and along w also loads, of neighbouring threads fall
// together. No shared memory: the overlap of windows is left to the caches.
#include "common/fast_divmod.h"
#include "cuda/indexing.cuh"
#include "cuda/pool/pool_launch.h"
#include "cuda/primitives/ldst.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

// With the second bound ptxas takes the registers it needs; left to choose an occupancy it spills.
constexpr int threads = pool_threads, blocks = 4;

struct UnfoldGeometry {
  int64_t n;
  int complex;  // 1 if elements are pairs
  TensorShape image, columns;
  Extent3 kernel, stride, dilation, pad;
  FastDivmod64 by_r, by_s;
  FastDivmod by_stride_h, by_stride_w;

  explicit UnfoldGeometry(const UnfoldProblem& p)
      : n(p.n),
        complex(p.parts - 1),
        image(Layout::nchw, p.c, p.image),
        columns(Layout::nchw, p.rows(), p.blocks),
        kernel(p.kernel),
        stride(p.stride),
        dilation(p.dilation),
        pad(p.pad),
        by_r(p.kernel.h),
        by_s(p.kernel.w),
        by_stride_h(p.stride.h),
        by_stride_w(p.stride.w) {}
};

// Coordinates along one axis fit 32 bits (UnfoldProblem sees to it); offsets in a tensor do not.
__device__ __forceinline__ int narrow(int64_t value) { return static_cast<int>(value); }

template <class T>
__global__ void __launch_bounds__(threads, blocks)
    im2col(UnfoldGeometry g, const T* __restrict__ image, T* __restrict__ columns) {
  const int64_t i = grid_thread(), element = i >> g.complex, part = i & g.complex;
  if (element >= g.n * g.columns.image_stride) return;
  const Position at = g.columns.position(element);
  int64_t r, s;
  const int64_t c = g.by_r.divmod(g.by_s.divmod(at.c, s), r);
  const int64_t h = at.h * g.stride.h + r * g.dilation.h - g.pad.h;
  const int64_t w = at.w * g.stride.w + s * g.dilation.w - g.pad.w;
  const bool inside = h >= 0 && h < g.image.extent.h && w >= 0 && w < g.image.extent.w;
  const int64_t source = (g.image.offset(at.n, c, 0, h, w) << g.complex) + part;
  store_global(columns + i, inside ? load_global_readonly<T>(image + source) : T(0));
}

/// The window that sees coordinate `at` (padding included) through a tap that lies `reach` after
/// its begin; −1 if there is none.
__device__ __forceinline__ int window_through(int at, int reach, const FastDivmod& by_stride,
                                              int64_t windows) {
  if (at < reach) return -1;
  int beside;
  const int window = by_stride.divmod(at - reach, beside);
  return beside == 0 && window < windows ? window : -1;
}

template <class T>
__global__ void __launch_bounds__(threads, blocks)
    col2im(UnfoldGeometry g, const T* __restrict__ columns, T* __restrict__ image) {
  const int64_t i = grid_thread(), element = i >> g.complex, part = i & g.complex;
  if (element >= g.n * g.image.image_stride) return;
  const Position at = g.image.position(element);
  const int h = narrow(at.h + g.pad.h), w = narrow(at.w + g.pad.w);
  accumulator_t<T> sum = 0;
  for (int r = 0; r < g.kernel.h; ++r) {
    const int p = window_through(h, narrow(r * g.dilation.h), g.by_stride_h, g.columns.extent.h);
    if (p < 0) continue;
    for (int s = 0; s < g.kernel.w; ++s) {
      const int q = window_through(w, narrow(s * g.dilation.w), g.by_stride_w, g.columns.extent.w);
      if (q < 0) continue;
      const int64_t row = (at.c * g.kernel.h + r) * g.kernel.w + s;
      const int64_t source = (g.columns.offset(at.n, row, 0, p, q) << g.complex) + part;
      sum += load_as_accumulator(columns + source);
    }
  }
  store_global(image + i, T(sum));
}

template <class T>
void launch_im2col(dim3 grid, const UnfoldGeometry& geometry, const UnfoldTensors& tensors,
                   cudaStream_t stream) {
  CNNKERN_LAUNCH((im2col<T>), grid, dim3(threads), 0, stream, geometry,
                 static_cast<const T*>(tensors.image), static_cast<T*>(tensors.columns));
}

}  // namespace

void launch_unfold(const PoolPlan& plan, const UnfoldProblem& problem, const UnfoldTensors& tensors,
                   cudaStream_t stream) {
  if (plan.grid[0] == 0) return;  // an empty result
  const dim3 grid(static_cast<unsigned>(plan.grid[0]));
  const UnfoldGeometry geometry(problem);
  if (problem.fold())
    return dispatch(problem.dtype, [&](auto zero) {
      using T = decltype(zero);
      CNNKERN_LAUNCH((col2im<T>), grid, dim3(threads), 0, stream, geometry,
                     static_cast<const T*>(tensors.columns), static_cast<T*>(tensors.image));
    });
  switch (size_of(problem.dtype)) {
    case 1: return launch_im2col<uint8_t>(grid, geometry, tensors, stream);
    case 2: return launch_im2col<uint16_t>(grid, geometry, tensors, stream);
    case 4: return launch_im2col<uint32_t>(grid, geometry, tensors, stream);
    default: return launch_im2col<uint64_t>(grid, geometry, tensors, stream);
  }
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
