// What a tensor-core forward convolution stores: rows are the output's pixels, columns filters; the
// fused operation (conv_bias_act.cuh) is done 16 bytes of filters at a time.
#pragma once

#include "cuda/conv/mma_epilogue.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

/// Params gives `pixels`, their number; `k`, filters of a pixel; `output`; `finish`, what is fused.
template <class Element, class Params>
struct FpropMmaOutput {
  const Params& p;
  Element* data;        // the group's first channel
  const Element* bias;  // likewise, or null
  int columns;
  bool aligned;

  __device__ __forceinline__ bool plain() const { return aligned && !p.finish.active(); }
  __device__ __forceinline__ int rows() const { return p.pixels; }
  __device__ __forceinline__ int64_t pitch() const { return p.k; }

  __device__ __forceinline__ int64_t row(int pixel) const {
    return pixel < p.pixels ? pixel * p.k : -1;
  }

  __device__ __forceinline__ void finish(int64_t at, const Columns<Element>& own,
                                         float (&values)[chunk<Element>]) const {
    const ConvBiasAct<Element>& fused = p.finish;
    if (!fused.active()) return;
    at += data - p.output;
    if (fused.residual) {
      float residual[chunk<Element>];
      own.load(fused.residual + at, residual);
#pragma unroll
      for (int c = 0; c < chunk<Element>; ++c) values[c] += residual[c];
    }
    if (fused.preactivation) own.store(fused.preactivation + at, values);
    with_activation<float>(fused.activation, [&](const auto& function) {
#pragma unroll
      for (int c = 0; c < chunk<Element>; ++c) values[c] = function(values[c]);
    });
  }
};

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
