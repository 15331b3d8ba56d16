// Adds the partial weight gradients of a split-K GEMM.
//
// One thread makes one weight; the parts are added in their order, so the result repeats bit for
// bit. Neighbouring threads read neighbouring addresses of every part. No shared memory.
#include "cuda/conv/conv_launch.h"
#include "cuda/indexing.cuh"
#include "cuda/primitives/ldst.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

constexpr int threads = 256;

__global__ void __launch_bounds__(threads)
    split_k_reduce(const float* __restrict__ workspace, float* __restrict__ weight,
                   int64_t elements, int parts) {
  const int64_t i = grid_thread();
  if (i >= elements) return;
  float sum = 0;
#pragma unroll 4
  for (int part = 0; part < parts; ++part)
    sum += load_global_readonly<float>(workspace + part * elements + i);
  store_global(weight + i, sum);
}

}  // namespace

void launch_split_k_reduce(const float* workspace, float* weight, int64_t elements, int parts,
                           cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>((elements + threads - 1) / threads));
  CNNKERN_LAUNCH(split_k_reduce, grid, dim3(threads), 0, stream, workspace, weight, elements,
                 parts);
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
