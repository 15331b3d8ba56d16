// What the rungs share: the convolution as a matrix product, with 32-bit indices.
//
//   output[pixel][k] = bias[k] + Σ over depth of input(pixel, depth) · weight[k][depth]
//
// A row is an output pixel (n, p, q), a column a filter, and the depth runs through the filter as
// it lies in memory, (r, s, c) with the channel fastest. The left matrix exists nowhere: `input`
// finds its element in the image, or says that it is padding.
#pragma once

#include "common/fast_divmod.h"
#include "cuda/conv/conv_launch.h"
#include "cuda/conv/ladder/ladder.h"
#include "cuda/primitives/ldst.cuh"
#include "cuda/primitives/shared.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

template <class T>
struct LadderProblem {
  const T *input, *weight, *bias;
  T* output;
  int h, w, c;
  int rows, columns, depth;
  int stride_h, stride_w, dilation_h, dilation_w, pad_h, pad_w;
  FastDivmod by_p, by_q, by_s, by_c;
  FastDivmod by_columns;  // columns of tiles; of elements where there are no tiles

  LadderProblem(const ConvPlan& plan, const ConvProblem& p, const ConvTensors& tensors)
      : input(static_cast<const T*>(tensors.input)),
        weight(static_cast<const T*>(tensors.weight)),
        bias(static_cast<const T*>(tensors.bias)),
        output(static_cast<T*>(tensors.output)),
        h(static_cast<int>(p.input.h)),
        w(static_cast<int>(p.input.w)),
        c(static_cast<int>(p.c)),
        rows(static_cast<int>(p.n * p.output.volume())),
        columns(static_cast<int>(p.k)),
        depth(static_cast<int>(p.c * p.filter.volume())),
        stride_h(static_cast<int>(p.stride.h)),
        stride_w(static_cast<int>(p.stride.w)),
        dilation_h(static_cast<int>(p.dilation.h)),
        dilation_w(static_cast<int>(p.dilation.w)),
        pad_h(static_cast<int>(p.pad_begin.h)),
        pad_w(static_cast<int>(p.pad_begin.w)),
        by_p(p.output.h),
        by_q(p.output.w),
        by_s(p.filter.w),
        by_c(std::max(p.c, int64_t{1})),
        by_columns(plan.tile.n == 0 ? p.k : (p.k + plan.tile.n - 1) / plan.tile.n) {}

  /// Where a pixel's window begins: a row of the left matrix.
  struct Window {
    int offset, h, w;  // element (h, w) of channel 0; h is far outside for rows past the end
  };
  __device__ __forceinline__ Window window(int row) const {
    if (row >= rows) return {0, -(1 << 30), 0};
    int q, p;
    const int n = by_p.divmod(by_q.divmod(row, q), p);
    const int first_h = p * stride_h - pad_h, first_w = q * stride_w - pad_w;
    return {((n * h + first_h) * w + first_w) * c, first_h, first_w};
  }

  /// How far an element of the filter reaches from there: a column of the left matrix.
  struct Tap {
    int offset, h, w;
  };
  __device__ __forceinline__ Tap tap(int k) const {
    int channel, s;
    const int r = by_s.divmod(by_c.divmod(k, channel), s);
    return {(r * dilation_h * w + s * dilation_w) * c + channel,
            k < depth ? r * dilation_h : -(1 << 30), s * dilation_w};
  }

  /// Whether the element lies inside the image; elsewhere it counts as zero.
  __device__ __forceinline__ bool inside(const Window& window, const Tap& tap) const {
    return static_cast<unsigned>(window.h + tap.h) < static_cast<unsigned>(h) &&
           static_cast<unsigned>(window.w + tap.w) < static_cast<unsigned>(w);
  }

  /// The first row and column of this block's tile; neighbouring blocks share rows.
  __device__ __forceinline__ void tile(int tile_m, int tile_n, int& first_m, int& first_n) const {
    int n;
    first_m = by_columns.divmod(static_cast<int>(blockIdx.x), n) * tile_m;
    first_n = n * tile_n;
  }

  __device__ __forceinline__ float bias_of(int k) const {
    return bias ? static_cast<float>(load_global_readonly<T>(bias + k)) : 0.0f;
  }
};

/// The float32 rungs end alike: this thread's sum of one output element.
__device__ __forceinline__ void store_sum(const LadderProblem<float>& p, int row, int k,
                                          float sum) {
  if (row < p.rows && k < p.columns)
    store_global(p.output + row * p.columns + k, sum + p.bias_of(k));
}

/// Whether every tensor begins where a rung's vectors may; the launcher of one that does not goes
/// to the direct kernel instead.
template <int rung, class T>
bool aligned(const ConvTensors& tensors) {
  constexpr uintptr_t alignment = ladder[rung - 1].vector * sizeof(T);
  for (const void* pointer : {tensors.input, tensors.weight, tensors.output})
    if (reinterpret_cast<uintptr_t>(pointer) % alignment != 0) return false;
  return true;
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
