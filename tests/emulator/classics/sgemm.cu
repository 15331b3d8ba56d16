// Matrix product through shared memory: a block computes a tile of c, and each element of a and b
// is read from global memory once a tile instead of once a product.
//
// Every round loads one tile of a and one of b, and needs two barriers: one before the tiles are
// read, because other threads loaded them, and one after, because the next round overwrites them.
#include "classics.h"
#include "cuda/primitives/ldst.cuh"
#include "cuda/primitives/shared.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

constexpr int tile = 16;

struct SgemmShared {
  float a[tile][tile], b[tile][tile];
};

template <Sgemm version>
__global__ void sgemm(const float* a, const float* b, float* c, int m, int n, int k) {
  CNNKERN_SHARED(SgemmShared, shared);
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
  const int row = static_cast<int>(blockIdx.y) * tile + y;
  const int column = static_cast<int>(blockIdx.x) * tile + x;
  float sum = 0;
  for (int first = 0; first < k; first += tile) {
    const bool a_valid = row < m && first + x < k, b_valid = first + y < k && column < n;
    const float a_value = a_valid ? load_global<float>(a + row * k + first + x) : 0.0f;
    const float b_value = b_valid ? load_global<float>(b + (first + y) * n + column) : 0.0f;
    store_shared(&shared.a[y][x], a_value);
    store_shared(&shared.b[y][x], b_value);
    __syncthreads();  // the tiles are complete
    for (int i = 0; i < tile; ++i)
      sum = fmaf(load_shared<float>(&shared.a[y][i]), load_shared<float>(&shared.b[i][x]), sum);
    if constexpr (version != Sgemm::without_second_barrier)
      __syncthreads();  // nobody reads the tiles any more
  }
  if (row < m && column < n) store_global(c + row * n + column, sum);
}

}  // namespace

template <Sgemm version>
void launch_sgemm(const float* a, const float* b, float* c, int m, int n, int k,
                  cudaStream_t stream) {
  const dim3 grid((n + tile - 1) / tile, (m + tile - 1) / tile);
  CNNKERN_LAUNCH(sgemm<version>, grid, dim3(tile, tile), sizeof(SgemmShared), stream, a, b, c, m, n,
                 k);
}

template void launch_sgemm<Sgemm::right>(const float*, const float*, float*, int, int, int,
                                         cudaStream_t);
template void launch_sgemm<Sgemm::without_second_barrier>(const float*, const float*, float*, int,
                                                          int, int, cudaStream_t);

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
