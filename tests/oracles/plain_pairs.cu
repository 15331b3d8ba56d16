// Kernels that must become the same machine code with `ours`, through our primitives, and without,
// as plain CUDA. tests/test_oracles.py compares their SASS.
#include <mma.h>

#include <tuple>

#include "cuda/primitives/ldst.cuh"
#include "cuda/primitives/mma.cuh"
#include "cuda/primitives/shared.cuh"
#include "cuda/primitives/warp.cuh"

namespace cnnkern::cuda {

// --- One primitive each ------------------------------------------------------------------------

// One address for both accesses: the register it lies in is then not free for what is loaded.
template <bool ours, class V>
__global__ void load(word_t<V>* data) {
  word_t<V>* own = data + threadIdx.x;
  if constexpr (ours) store_global(own + 1024, load_global<V>(own));
  else own[1024] = own[0];
}

template <bool ours, class V>
__global__ void load_readonly(word_t<V>* data) {
  word_t<V>* own = data + threadIdx.x;
  if constexpr (ours) store_global(own + 1024, load_global_readonly<V>(own));
  else own[1024] = __ldg(own);
}

template <bool ours, class V>
__global__ void stream(word_t<V>* data) {
  word_t<V>* own = data + threadIdx.x;
  if constexpr (ours) store_global_streaming(own + 1024, load_global_streaming<V>(own));
  else __stcs(own + 1024, __ldcs(own));
}

template <bool ours, class T>
__global__ void shuffle_values(T* data, int i) {
  T x = data[threadIdx.x];
  if constexpr (ours) {
    x += shuffle(full_warp, x, i);
    x += shuffle_up(full_warp, x, i);
    x += shuffle_down(full_warp, x, i);
    x += shuffle_xor(full_warp, x, i);
  } else {
    x += __shfl_sync(0xffffffffu, x, i);
    x += __shfl_up_sync(0xffffffffu, x, i);
    x += __shfl_down_sync(0xffffffffu, x, i);
    x += __shfl_xor_sync(0xffffffffu, x, i);
  }
  data[threadIdx.x] = x;
}

template <bool ours>
__global__ void vote(unsigned* data, unsigned mask) {
  const unsigned x = data[threadIdx.x];
  if constexpr (ours) {
    data[threadIdx.x] = ballot(mask, x == 1) + any(mask, x == 2) + all(mask, x == 3);
    sync_warp(mask);
  } else {
    data[threadIdx.x] = __ballot_sync(mask, x == 1) + (__any_sync(mask, x == 2) != 0) +
                        (__all_sync(mask, x == 3) != 0);
    __syncwarp(mask);
  }
  data[0] = 0;
}

#if CNNKERN_ARCH == 0 || CNNKERN_ARCH >= 800
template <bool ours>
__global__ void round_to_tf32(float* data) {
  const float x = data[threadIdx.x];
  if constexpr (ours) data[threadIdx.x] = __uint_as_float(to_tf32(x));
  else data[threadIdx.x] = nvcuda::wmma::__float_to_tf32(x);
}
#endif

// --- A whole kernel: the sums of the columns of a 32 × 128 tile --------------------------------

template <bool ours>
__global__ void __launch_bounds__(1024) column_sums(const float* in, float* out, int rows) {
  const int lane = threadIdx.x % 32, row = threadIdx.x / 32;
  const float* from = in + (blockIdx.x * 32 + row) * 128 + 4 * lane;
  if constexpr (ours) {
    struct SharedStorage {
      float tile[32][132];
    };
    CNNKERN_SHARED(SharedStorage, shared);
    store_shared(&shared.tile[row][4 * lane],
                 load_global_or_zero<Vector<float, 4>>(from, row < rows));
    __syncthreads();
    for (int column = row; column < 128; column += 32) {
      const float sum = warp_sum(full_warp, load_shared<float>(&shared.tile[lane][column]));
      if (lane == 0) store_global(&out[blockIdx.x * 128 + column], sum);
    }
  } else {
    extern __shared__ __align__(16) float tile[][132];
    *reinterpret_cast<float4*>(&tile[row][4 * lane]) =
        row < rows ? __ldg(reinterpret_cast<const float4*>(from)) : float4{};
    __syncthreads();
    for (int column = row; column < 128; column += 32) {
      float sum = tile[lane][column];
      for (int lane_mask = 16; lane_mask > 0; lane_mask /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, lane_mask);
      if (lane == 0) out[blockIdx.x * 128 + column] = sum;
    }
  }
}

// --- What is compiled --------------------------------------------------------------------------

template <bool ours, class V>
auto accesses = std::tuple(load<ours, V>, load_readonly<ours, V>, stream<ours, V>);

template <bool ours>
auto kernels = std::tuple(accesses<ours, unsigned char>, accesses<ours, float16>,
                          accesses<ours, float>, accesses<ours, double>,
                          accesses<ours, Vector<float, 4>>, shuffle_values<ours, float>,
                          shuffle_values<ours, double>, vote<ours>, column_sums<ours>
#if CNNKERN_ARCH == 0 || CNNKERN_ARCH >= 800
                          ,
                          round_to_tf32<ours>
#endif
);

auto pairs = std::tuple(kernels<true>, kernels<false>);

}  // namespace cnnkern::cuda
