// What a fused forward convolution does to a sum before it is rounded: adds the residual, keeps the
// pre-activation if somebody will differentiate, applies the activation. The residual lies as the
// output does, so both are accessed alike, and nothing is read twice. One kernel serves every
// activation: all threads take the same branch, while an instantiation each would make seven
// kernels of one.
#pragma once

#include "cuda/indexing.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

template <class T>
struct ConvBiasAct {
  const T* residual;  // or null
  T* preactivation;   // or null
  Activation activation;

  ConvBiasAct(const ConvProblem& problem, const ConvTensors& tensors)
      : residual(static_cast<const T*>(tensors.residual)),
        preactivation(static_cast<T*>(tensors.preactivation)),
        activation(problem.activation) {}

  __device__ __forceinline__ bool active() const {
    return activation != Activation::none || residual || preactivation;
  }

  /// What the activation is taken of; `at` is the element of the output that this sum makes.
  __device__ __forceinline__ accumulator_t<T> before(int64_t at, accumulator_t<T> sum) const {
    if (residual) sum += load_as_accumulator(residual + at);
    if (preactivation) store_global(preactivation + at, T(sum));
    return sum;
  }

  __device__ __forceinline__ accumulator_t<T> operator()(int64_t at, accumulator_t<T> sum) const {
    return activate(activation, before(at, sum));
  }
};

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
