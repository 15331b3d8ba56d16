// Bias gradient: for each channel, the sum of the output's gradient over images and pixels.
//
// A block of 8 warps owns one channel (N C D H W) or 32 neighbouring ones (channels last), so that
// the lanes of a warp read neighbouring addresses in both layouts: along the pixels, then summed by
// a butterfly, or along the channels, each lane with its own sum. The warps' sums meet in shared
// memory and are added in order: one fixed tree, sums in float (double for float64).
#include "cuda/conv/conv_launch.h"
#include "cuda/indexing.cuh"
#include "cuda/primitives/ldst.cuh"
#include "cuda/primitives/shared.cuh"
#include "cuda/primitives/warp.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

constexpr int warps = 8;

template <class T>
struct BiasGradShared {
  accumulator_t<T> sum[warps][32];
};

template <class T, Layout layout>
__global__ void __launch_bounds__(warps * 32)
    bias_grad(TensorShape y, FastDivmod64 by_volume, int64_t images,
              const T* __restrict__ grad_output, T* __restrict__ grad_bias) {
  CNNKERN_SHARED(BiasGradShared<T>, shared);
  constexpr bool channels_last = layout == Layout::nhwc;
  constexpr int block_channels = channels_last ? 32 : 1;
  const int lane = lane_index(), warp = warp_index();
  const int64_t channel = static_cast<int64_t>(blockIdx.x) * block_channels + lane % block_channels;
  const int64_t pixels = images * y.volume;
  const int step = channels_last ? warps : warps * 32;
  accumulator_t<T> sum = 0;
  if (channel < y.channels)
    for (int64_t pixel = channels_last ? warp : warp * 32 + lane; pixel < pixels; pixel += step) {
      int64_t offset;
      if constexpr (channels_last) {
        offset = pixel * y.channels + channel;
      } else {
        int64_t within;
        const int64_t image = by_volume.divmod(pixel, within);
        offset = (image * y.channels + channel) * y.volume + within;
      }
      sum += load_as_accumulator(grad_output + offset);
    }
  if constexpr (!channels_last) sum = warp_sum(full_warp, sum);
  store_shared(&shared.sum[warp][lane], sum);
  __syncthreads();
  if (warp != 0 || lane >= block_channels || channel >= y.channels) return;
  accumulator_t<T> total = 0;
  for (int i = 0; i < warps; ++i) total += load_shared<accumulator_t<T>>(&shared.sum[i][lane]);
  store_global(grad_bias + channel, T(total));
}

}  // namespace

void launch_bias_grad(const ConvProblem& problem, const ConvTensors& tensors, cudaStream_t stream) {
  if (problem.k == 0) return;
  const TensorShape y(problem.layout, problem.k, problem.output);
  const FastDivmod64 by_volume(y.volume > 0 ? y.volume : 1);
  const dim3 block(warps * 32);
  dispatch(problem.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto* grad_output = static_cast<const T*>(tensors.output);
    auto* grad_bias = static_cast<T*>(const_cast<void*>(tensors.bias));
    if (problem.layout == Layout::nhwc) {
      const dim3 grid(static_cast<unsigned>((problem.k + 31) / 32));
      CNNKERN_LAUNCH((bias_grad<T, Layout::nhwc>), grid, block, sizeof(BiasGradShared<T>), stream,
                     y, by_volume, problem.n, grad_output, grad_bias);
    } else {
      const dim3 grid(static_cast<unsigned>(problem.k));
      CNNKERN_LAUNCH((bias_grad<T, Layout::nchw>), grid, block, sizeof(BiasGradShared<T>), stream,
                     y, by_volume, problem.n, grad_output, grad_bias);
    }
  });
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
