// Sum of many values: each thread adds its share, then a tree in shared memory halves the number of
// sums in every step, down to one a block.
//
// A barrier closes each step, because the next one reads what other threads wrote. In the last five
// steps only one warp works; a barrier of the block would be more than is needed, but the lanes of
// a warp have not run in step since Volta, so sync_warp takes its place.
#include "classics.h"
#include "cuda/primitives/ldst.cuh"
#include "cuda/primitives/shared.cuh"
#include "cuda/primitives/warp.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

constexpr int threads = 256;

struct ReductionShared {
  float sum[threads];
};

template <Reduction version>
__global__ void reduction(const float* values, int count, float* sums) {
  CNNKERN_SHARED(ReductionShared, shared);
  const int thread = static_cast<int>(threadIdx.x), block = static_cast<int>(blockIdx.x);
  float sum = 0;
  for (int i = block * threads + thread; i < count; i += reduction_blocks * threads)
    sum += load_global<float>(values + i);
  store_shared(&shared.sum[thread], sum);
  __syncthreads();
  for (int half = threads / 2; half >= 32; half /= 2) {
    if (thread < half) {
      sum += load_shared<float>(&shared.sum[thread + half]);
      store_shared(&shared.sum[thread], sum);
    }
    if constexpr (version != Reduction::without_barrier) __syncthreads();
  }
  if (thread >= 32) return;
  for (int half = 16; half > 0; half /= 2) {
    if (thread < half) {
      sum += load_shared<float>(&shared.sum[thread + half]);
      store_shared(&shared.sum[thread], sum);
    }
    if constexpr (version != Reduction::without_sync_warp) sync_warp(full_warp);
  }
  if (thread == 0) store_global(sums + block, sum);
}

}  // namespace

template <Reduction version>
void launch_reduction(const float* values, int count, float* sums, cudaStream_t stream) {
  CNNKERN_LAUNCH(reduction<version>, reduction_blocks, threads, sizeof(ReductionShared), stream,
                 values, count, sums);
}

template void launch_reduction<Reduction::right>(const float*, int, float*, cudaStream_t);
template void launch_reduction<Reduction::without_barrier>(const float*, int, float*, cudaStream_t);
template void launch_reduction<Reduction::without_sync_warp>(const float*, int, float*,
                                                             cudaStream_t);

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
