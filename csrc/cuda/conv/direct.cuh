// Direct convolution: the definition, one sum after another.
//
// Takes every shape, stride, dilation, padding, group count, dtype and both layouts; the kernel of
// last resort, and the one the others are read against. fprop and dgrad: one thread makes one
// element of the result, all taps and channels in a fixed order; dgrad gathers, testing whether the
// stride divides the distance. wgrad: one warp makes one weight, its lanes take every 32nd output
// pixel and are summed in a fixed tree. All index arithmetic is 64-bit; grids of any size work
// because every loop strides by the grid. No shared memory.
#pragma once

#include <algorithm>

#include "cuda/conv/conv_bias_act.cuh"
#include "cuda/primitives/ldst.cuh"
#include "cuda/primitives/warp.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

// With the second bound ptxas takes the registers it needs; left to choose an occupancy it spills.
inline constexpr int direct_threads = 256, direct_blocks = 2, direct_fprop_blocks = 3;

/// A problem as the kernels want it: input x, weight w, output y.
struct DirectProblem {
  int64_t n, c_per_group, k_per_group;
  TensorShape x, w, y;
  TensorShape windows;  // y's pixels alone
  Extent3 stride, dilation, pad;
  FastDivmod64 by_c_per_group, by_k_per_group, by_stride_d, by_stride_h, by_stride_w;

  explicit DirectProblem(const ConvProblem& p)
      : n(p.n),
        c_per_group(p.c_per_group()),
        k_per_group(p.k_per_group()),
        x(p.layout, p.c, p.input),
        w(p.layout, p.c_per_group(), p.filter),
        y(p.layout, p.k, p.output),
        windows(p.layout, 1, p.output),
        stride(p.stride),
        dilation(p.dilation),
        pad(p.pad_begin),
        by_c_per_group(w.by_channels),
        by_k_per_group(std::max<int64_t>(p.k_per_group(), 1)),
        by_stride_d(p.stride.d),
        by_stride_h(p.stride.h),
        by_stride_w(p.stride.w) {}
};

template <class T>
__global__ void __launch_bounds__(direct_threads, direct_fprop_blocks)
    direct_fprop(DirectProblem p, const T* __restrict__ input, const T* __restrict__ weight,
                 const T* __restrict__ bias, T* __restrict__ output, ConvBiasAct<T> finish) {
  const int64_t count = p.n * p.y.image_stride;
  for (int64_t index = grid_thread(); index < count; index += grid_threads()) {
    const Position at = p.y.position(index);
    const int64_t first_c = p.by_k_per_group.divide(at.c) * p.c_per_group;
    accumulator_t<T> sum = bias ? load_as_accumulator(bias + at.c) : accumulator_t<T>(0);
    for (int64_t t = 0; t < p.w.extent.d; ++t) {
      const int64_t d = at.d * p.stride.d + t * p.dilation.d - p.pad.d;
      if (d < 0 || d >= p.x.extent.d) continue;
      for (int64_t r = 0; r < p.w.extent.h; ++r) {
        const int64_t h = at.h * p.stride.h + r * p.dilation.h - p.pad.h;
        if (h < 0 || h >= p.x.extent.h) continue;
        for (int64_t s = 0; s < p.w.extent.w; ++s) {
          const int64_t w = at.w * p.stride.w + s * p.dilation.w - p.pad.w;
          if (w < 0 || w >= p.x.extent.w) continue;
          const T* x = input + p.x.offset(at.n, first_c, d, h, w);
          const T* f = weight + p.w.offset(at.c, 0, t, r, s);
          for (int64_t c = 0; c < p.c_per_group; ++c)
            sum = fma(load_as_accumulator(x + c * p.x.channel_stride),
                      load_as_accumulator(f + c * p.w.channel_stride), sum);
        }
      }
    }
    store_global(output + index, T(finish(index, sum)));
  }
}

/// The output coordinate that reads input coordinate `at` through tap `tap`, or -1.
__device__ __forceinline__ int64_t reading_output(int64_t at, int64_t tap, FastDivmod64 stride,
                                                  int64_t dilation, int64_t pad, int64_t size) {
  const int64_t distance = at + pad - tap * dilation;
  if (distance < 0) return -1;
  int64_t remainder;
  const int64_t out = stride.divmod(distance, remainder);
  return remainder == 0 && out < size ? out : -1;
}

template <class T>
__global__ void __launch_bounds__(direct_threads, direct_blocks)
    direct_dgrad(DirectProblem p, const T* __restrict__ output, const T* __restrict__ weight,
                 const T* __restrict__ bias, T* __restrict__ input) {
  const int64_t count = p.n * p.x.image_stride;
  for (int64_t index = grid_thread(); index < count; index += grid_threads()) {
    const Position at = p.x.position(index);
    const int64_t group = p.by_c_per_group.divide(at.c), c = at.c - group * p.c_per_group;
    const int64_t first_k = group * p.k_per_group;
    const int64_t filter_elements = p.w.image_stride;
    accumulator_t<T> sum = bias ? load_as_accumulator(bias + at.c) : accumulator_t<T>(0);
    for (int64_t t = 0; t < p.w.extent.d; ++t) {
      const int64_t z = reading_output(at.d, t, p.by_stride_d, p.dilation.d, p.pad.d, p.y.extent.d);
      if (z < 0) continue;
      for (int64_t r = 0; r < p.w.extent.h; ++r) {
        const int64_t p_row =
            reading_output(at.h, r, p.by_stride_h, p.dilation.h, p.pad.h, p.y.extent.h);
        if (p_row < 0) continue;
        for (int64_t s = 0; s < p.w.extent.w; ++s) {
          const int64_t q =
              reading_output(at.w, s, p.by_stride_w, p.dilation.w, p.pad.w, p.y.extent.w);
          if (q < 0) continue;
          const T* y = output + p.y.offset(at.n, first_k, z, p_row, q);
          const T* f = weight + p.w.offset(first_k, c, t, r, s);
          for (int64_t k = 0; k < p.k_per_group; ++k)
            sum = fma(load_as_accumulator(y + k * p.y.channel_stride),
                      load_as_accumulator(f + k * filter_elements), sum);
        }
      }
    }
    store_global(input + index, T(sum));
  }
}

template <class T>
__global__ void __launch_bounds__(direct_threads, direct_blocks)
    direct_wgrad(DirectProblem p, const T* __restrict__ output, const T* __restrict__ input,
                 T* __restrict__ weight) {
  const int64_t count = p.y.channels * p.w.image_stride;
  const int64_t pixels = p.n * p.y.volume;
  const int lane = lane_index();
  for (int64_t index = grid_thread() / 32; index < count; index += grid_threads() / 32) {
    const Position at = p.w.position(index);  // n is the filter k, (d, h, w) the tap (t, r, s)
    const int64_t c = p.by_k_per_group.divide(at.n) * p.c_per_group + at.c;
    accumulator_t<T> sum = 0;
    for (int64_t pixel = lane; pixel < pixels; pixel += 32) {
      const Position out = p.windows.position(pixel);
      const int64_t d = out.d * p.stride.d + at.d * p.dilation.d - p.pad.d;
      const int64_t h = out.h * p.stride.h + at.h * p.dilation.h - p.pad.h;
      const int64_t w = out.w * p.stride.w + at.w * p.dilation.w - p.pad.w;
      if (d < 0 || d >= p.x.extent.d || h < 0 || h >= p.x.extent.h || w < 0 || w >= p.x.extent.w)
        continue;
      const T* x = input + p.x.offset(out.n, c, d, h, w);
      const T* y = output + p.y.offset(out.n, at.n, out.d, out.h, out.w);
      sum = fma(load_as_accumulator(x), load_as_accumulator(y), sum);
    }
    sum = warp_sum(full_warp, sum);
    if (lane == 0) store_global(weight + index, T(sum));
  }
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
