// Direct convolution: the definition, one sum after another.
//
// Takes every shape, stride, dilation, padding, group count, dtype and both layouts; the kernel of
// last resort, and the one the others are read against. fprop and dgrad: one thread makes one
// element of the result, all taps and channels in a fixed order; dgrad gathers, testing whether the
// stride divides the distance. wgrad: one warp makes one weight, its lanes take every 32nd output
// pixel and are summed in a fixed tree. All index arithmetic is 64-bit; grids of any size work
// because every loop strides by the grid. No shared memory.
#pragma once

#include "cuda/indexing.cuh"
#include "cuda/primitives/ldst.cuh"
#include "cuda/primitives/warp.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

inline constexpr int direct_threads = 256;

/// The three tensors of a convolution: input x, weight w, output y.
struct DirectShapes {
  TensorShape x, w, y;
  int64_t c_per_group, k_per_group;

  CNNKERN_HOST_DEVICE explicit DirectShapes(const ConvProblem& p)
      : x{p.layout, p.c, p.input},
        w{p.layout, p.c / p.groups, p.filter},
        y{p.layout, p.k, p.output},
        c_per_group(p.c / p.groups),
        k_per_group(p.k / p.groups) {}
};

template <class T>
__device__ __forceinline__ accumulator_t<T> load_as_accumulator(const T* element) {
  return static_cast<accumulator_t<T>>(load_global_readonly<T>(element));
}

template <class T>
__global__ void __launch_bounds__(direct_threads)
    direct_fprop(ConvProblem p, const T* __restrict__ input, const T* __restrict__ weight,
                 const T* __restrict__ bias, T* __restrict__ output) {
  const DirectShapes shapes(p);
  const int64_t count = p.n * p.k * shapes.y.volume();
  for (int64_t index = grid_thread(); index < count; index += grid_threads()) {
    const Position at = shapes.y.position(index);
    const int64_t first_c = at.c / shapes.k_per_group * shapes.c_per_group;
    accumulator_t<T> sum = bias ? load_as_accumulator(bias + at.c) : accumulator_t<T>(0);
    for (int64_t t = 0; t < p.filter.d; ++t) {
      const int64_t d = at.d * p.stride.d + t * p.dilation.d - p.pad_begin.d;
      if (d < 0 || d >= p.input.d) continue;
      for (int64_t r = 0; r < p.filter.h; ++r) {
        const int64_t h = at.h * p.stride.h + r * p.dilation.h - p.pad_begin.h;
        if (h < 0 || h >= p.input.h) continue;
        for (int64_t s = 0; s < p.filter.w; ++s) {
          const int64_t w = at.w * p.stride.w + s * p.dilation.w - p.pad_begin.w;
          if (w < 0 || w >= p.input.w) continue;
          const T* x = input + shapes.x.offset(at.n, first_c, d, h, w);
          const T* f = weight + shapes.w.offset(at.c, 0, t, r, s);
          for (int64_t c = 0; c < shapes.c_per_group; ++c)
            sum = fma(load_as_accumulator(x + c * shapes.x.channel_stride()),
                      load_as_accumulator(f + c * shapes.w.channel_stride()), sum);
        }
      }
    }
    store_global(output + index, T(sum));
  }
}

/// The output coordinate that reads input coordinate `at` through tap `tap`, or -1.
__device__ __forceinline__ int64_t reading_output(int64_t at, int64_t tap, int64_t stride,
                                                  int64_t dilation, int64_t pad, int64_t size) {
  const int64_t distance = at + pad - tap * dilation;
  if (distance < 0) return -1;
  const int64_t out = distance / stride;
  return out * stride == distance && out < size ? out : -1;
}

template <class T>
__global__ void __launch_bounds__(direct_threads)
    direct_dgrad(ConvProblem p, const T* __restrict__ output, const T* __restrict__ weight,
                 const T* __restrict__ bias, T* __restrict__ input) {
  const DirectShapes shapes(p);
  const int64_t count = p.n * p.c * shapes.x.volume();
  for (int64_t index = grid_thread(); index < count; index += grid_threads()) {
    const Position at = shapes.x.position(index);
    const int64_t group = at.c / shapes.c_per_group, c = at.c - group * shapes.c_per_group;
    const int64_t first_k = group * shapes.k_per_group;
    const int64_t filter_elements = shapes.c_per_group * shapes.w.volume();
    accumulator_t<T> sum = bias ? load_as_accumulator(bias + at.c) : accumulator_t<T>(0);
    for (int64_t t = 0; t < p.filter.d; ++t) {
      const int64_t z =
          reading_output(at.d, t, p.stride.d, p.dilation.d, p.pad_begin.d, p.output.d);
      if (z < 0) continue;
      for (int64_t r = 0; r < p.filter.h; ++r) {
        const int64_t p_row =
            reading_output(at.h, r, p.stride.h, p.dilation.h, p.pad_begin.h, p.output.h);
        if (p_row < 0) continue;
        for (int64_t s = 0; s < p.filter.w; ++s) {
          const int64_t q =
              reading_output(at.w, s, p.stride.w, p.dilation.w, p.pad_begin.w, p.output.w);
          if (q < 0) continue;
          const T* y = output + shapes.y.offset(at.n, first_k, z, p_row, q);
          const T* f = weight + shapes.w.offset(first_k, c, t, r, s);
          for (int64_t k = 0; k < shapes.k_per_group; ++k)
            sum = fma(load_as_accumulator(y + k * shapes.y.channel_stride()),
                      load_as_accumulator(f + k * filter_elements), sum);
        }
      }
    }
    store_global(input + index, T(sum));
  }
}

template <class T>
__global__ void __launch_bounds__(direct_threads)
    direct_wgrad(ConvProblem p, const T* __restrict__ output, const T* __restrict__ input,
                 T* __restrict__ weight) {
  const DirectShapes shapes(p);
  const int64_t count = p.k * shapes.c_per_group * shapes.w.volume();
  const int64_t pixels = p.n * shapes.y.volume();
  const int lane = lane_index();
  for (int64_t index = grid_thread() / 32; index < count; index += grid_threads() / 32) {
    const Position at = shapes.w.position(index);  // n is the filter k, (d, h, w) the tap (t, r, s)
    const int64_t c = at.n / shapes.k_per_group * shapes.c_per_group + at.c;
    accumulator_t<T> sum = 0;
    for (int64_t pixel = lane; pixel < pixels; pixel += 32) {
      const Position out = TensorShape{p.layout, 1, p.output}.position(pixel);
      const int64_t d = out.d * p.stride.d + at.d * p.dilation.d - p.pad_begin.d;
      const int64_t h = out.h * p.stride.h + at.h * p.dilation.h - p.pad_begin.h;
      const int64_t w = out.w * p.stride.w + at.w * p.dilation.w - p.pad_begin.w;
      if (d < 0 || d >= p.input.d || h < 0 || h >= p.input.h || w < 0 || w >= p.input.w) continue;
      const T* x = input + shapes.x.offset(out.n, c, d, h, w);
      const T* y = output + shapes.y.offset(out.n, at.n, out.d, out.h, out.w);
      sum = fma(load_as_accumulator(x), load_as_accumulator(y), sum);
    }
    sum = warp_sum(full_warp, sum);
    if (lane == 0) store_global(weight + index, T(sum));
  }
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
