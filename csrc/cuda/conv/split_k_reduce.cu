// Adds the partial weight gradients of a split-K GEMM, and rounds the sums to the weight's type.
//
// One thread makes neighbouring weights, from 16 bytes of every part (or one, where the count
// of weights or an address forbids it). The parts are added in their order, so the result repeats
// bit for bit. The loads of eight parts are under way at a time. No shared memory.
#include "cuda/conv/conv_launch.h"
#include "cuda/indexing.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

constexpr int threads = 128;

template <class Element, int vector>
__global__ void __launch_bounds__(threads)
    split_k_reduce(const accumulator_t<Element>* __restrict__ workspace,
                   Element* __restrict__ weight, int64_t elements, int parts) {
  const int64_t first = grid_thread() * vector;
  if (first >= elements) return;
  using Sum = accumulator_t<Element>;
  const Sum* at = workspace + first;
  Sum sums[vector] = {};
#pragma unroll 8
  for (int part = 0; part < parts; ++part, at += elements) {
    const auto values = load_global_readonly<Vector<Sum, vector>>(at);
#pragma unroll
    for (int i = 0; i < vector; ++i) sums[i] += values[i];
  }
  Vector<Element, vector> rounded;
#pragma unroll
  for (int i = 0; i < vector; ++i) rounded[i] = static_cast<Element>(sums[i]);
  store_global(weight + first, rounded);
}

template <int vector, class Element>
void launch(const accumulator_t<Element>* workspace, Element* weight, int64_t elements, int parts,
            cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>((elements / vector + threads - 1) / threads));
  CNNKERN_LAUNCH((split_k_reduce<Element, vector>), grid, dim3(threads), 0, stream, workspace,
                 weight, elements, parts);
}

}  // namespace

template <class Element>
void launch_split_k_reduce(const accumulator_t<Element>* workspace, Element* weight,
                           int64_t elements, int parts, cudaStream_t stream) {
  constexpr int vector = 16 / sizeof(accumulator_t<Element>);
  const bool aligned = reinterpret_cast<uintptr_t>(weight) % (vector * sizeof(Element)) == 0;
  if (elements % vector == 0 && aligned) launch<vector>(workspace, weight, elements, parts, stream);
  else launch<1>(workspace, weight, elements, parts, stream);
}

template void launch_split_k_reduce(const double*, double*, int64_t, int, cudaStream_t);
template void launch_split_k_reduce(const float*, float*, int64_t, int, cudaStream_t);
template void launch_split_k_reduce(const float*, float16*, int64_t, int, cudaStream_t);
template void launch_split_k_reduce(const float*, bfloat16*, int64_t, int, cudaStream_t);

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
