// What the depthwise kernels of fprop and dgrad share: both gather a result from a source through
// the taps of one filter a channel; depthwise_plan.h tells how an axis is walked.
#pragma once

#include "common/fast_divmod.h"
#include "cuda/conv/conv_bias_act.cuh"
#include "cuda/conv/conv_launch.h"
#include "cuda/conv/depthwise_plan.h"
#include "cuda/indexing.cuh"
#include "cuda/primitives/ldst.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

/// fprop: result = output, source = input; dgrad: the other way round. Tensors have fewer than 2^31
/// elements.
template <class T>
struct DepthwiseGather {
  DepthwiseAxis d, h, w;
  FastDivmod classes_h, classes_w;
  // Filters summed into a channel of the result: filter channel·summed + j, of which each reads
  // source channel filter / multiplier. One of the two is 1.
  FastDivmod summed, multiplier;
  int result_channels, source_channels, filter_taps;
  const T *source, *weight, *bias;
  T* result;
  ConvBiasAct<T> finish;

  DepthwiseGather(const ConvProblem& p, const ConvTensors& tensors)
      : d(p, 0),
        h(p, 1),
        w(p, 2),
        classes_h(h.class_count),
        classes_w(w.class_count),
        summed(p.direction == ConvDirection::dgrad ? p.k_per_group() : 1),
        multiplier(p.direction == ConvDirection::dgrad ? 1 : p.k_per_group()),
        result_channels(static_cast<int>(p.direction == ConvDirection::dgrad ? p.c : p.k)),
        source_channels(static_cast<int>(p.direction == ConvDirection::dgrad ? p.k : p.c)),
        filter_taps(static_cast<int>(p.filter.volume())),
        source(static_cast<const T*>(p.direction == ConvDirection::dgrad ? tensors.output
                                                                         : tensors.input)),
        weight(static_cast<const T*>(tensors.weight)),
        bias(static_cast<const T*>(tensors.bias)),
        result(
            static_cast<T*>(p.direction == ConvDirection::dgrad ? tensors.input : tensors.output)),
        finish(p, tensors) {}
};

/// The class of result elements that a block (grid y) makes.
struct DepthwiseClass {
  const DepthwiseAxis::Class &d, &h, &w;

  template <class T>
  __device__ __forceinline__ static DepthwiseClass of_block(const DepthwiseGather<T>& p) {
    int at_h, at_w;
    const int at_d =
        p.classes_h.divmod(p.classes_w.divmod(static_cast<int>(blockIdx.y), at_w), at_h);
    return {p.d.classes[at_d], p.h.classes[at_h], p.w.classes[at_w]};
  }
};

__device__ __forceinline__ bool inside(int at, int extent) {
  return static_cast<unsigned>(at) < static_cast<unsigned>(extent);
}

template <class T, int N>
__device__ __forceinline__ void widen(const Vector<T, N>& from, accumulator_t<T> (&to)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = static_cast<accumulator_t<T>>(from[i]);
}

template <class T, int N>
__device__ __forceinline__ Vector<T, N> round_to(const accumulator_t<T> (&from)[N]) {
  Vector<T, N> to;
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = T(from[i]);
  return to;
}

/// Stores the first `count` vectors of a strip, `step` elements apart from `first` on. What fprop
/// fuses exists in code once: the vectors move up through the registers (see store_fused_tile).
template <class T, int strip, int vector>
__device__ __forceinline__ void store_strip(const DepthwiseGather<T>& p, int64_t first,
                                            int64_t step, int count,
                                            accumulator_t<T> (&sums)[strip][vector]) {
  using A = accumulator_t<T>;
  using V = Vector<T, vector>;
  if (!p.finish.active()) {
#pragma unroll
    for (int q = 0; q < strip; ++q)
      if (q < count) store_global_at_once(p.result + first + q * step, round_to<T>(sums[q]));
    return;
  }
#pragma unroll 1
  for (int q = 0; q < min(count, strip); ++q) {
    const int64_t at = first + q * step;
    if (p.finish.residual) {
      A residual[vector];
      widen(load_global_readonly<V>(p.finish.residual + at), residual);
#pragma unroll
      for (int i = 0; i < vector; ++i) sums[0][i] += residual[i];
    }
    if (p.finish.preactivation) store_global(p.finish.preactivation + at, round_to<T>(sums[0]));
    with_activation<A>(p.finish.activation, [&](const auto& function) {
#pragma unroll
      for (int i = 0; i < vector; ++i) sums[0][i] = function(sums[0][i]);
    });
    store_global(p.result + at, round_to<T>(sums[0]));
#pragma unroll
    for (int above = 0; above < strip - 1; ++above)
#pragma unroll
      for (int i = 0; i < vector; ++i) sums[above][i] = sums[above + 1][i];
  }
}

// One launcher a layout, each instantiated next to its kernels; `vector` is what the plan found, or
// 1 where a pointer is not aligned to it.
template <class T>
void launch_depthwise_pixels(const DepthwiseShape&, const ConvProblem&, const ConvTensors&,
                             cudaStream_t);
template <class T>
void launch_depthwise_planes(const DepthwiseShape&, const ConvProblem&, const ConvTensors&,
                             cudaStream_t);
template <class T>
void launch_depthwise_wgrad(const DepthwiseShape&, const ConvProblem&, const ConvTensors&,
                            int splits, cudaStream_t);

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
