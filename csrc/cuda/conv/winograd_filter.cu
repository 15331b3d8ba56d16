// The filters of winograd.cu, transformed: U = G g Gᵀ, 16 numbers for 9 weights, written in the
// order in which that kernel's blocks read them, so that they copy 32 KiB a step without an address
// to compute:
//
//   u[filters / 64][channels / 8][place][channel % 8][filter % 64]
//
// with zeros where channels and filters end. For dgrad the filter is turned by 180 degrees, and C
// and K change places. Tiling: a thread transforms one filter of one channel; neighbours are
// neighbouring filters, so stores are coalesced. No shared memory. Source: as winograd.cu.
#include "cuda/conv/winograd.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

constexpr int threads = 128;

struct FilterParams {
  const float* weight;  // its first tap, in the order of the transform
  float* u;
  int64_t filter_stride, channel_stride, tap_stride, elements;
  int filters, channels, steps;
};

/// G x for three numbers, in four.
__device__ __forceinline__ void transform_filter(const float (&x)[3], float (&y)[4]) {
  const float sum = 0.5f * (x[0] + x[2]), middle = 0.5f * x[1];
  y[0] = x[0];
  y[1] = sum + middle;
  y[2] = sum - middle;
  y[3] = x[2];
}

__global__ void __launch_bounds__(threads) winograd_filter(FilterParams p) {
  constexpr int filters = winograd_tile.m, channels = winograd_tile.k;
  for (int64_t i = grid_thread(); i < p.elements; i += grid_threads()) {
    const auto panel = static_cast<int>(i / (filters * channels));  // a step of a block
    const int within = static_cast<int>(i % (filters * channels));
    const int filter = panel / p.steps * filters + within % filters;
    const int channel = panel % p.steps * channels + within / filters;
    const bool exists = filter < p.filters && channel < p.channels;
    const int64_t first = filter * p.filter_stride + channel * p.channel_stride;
    float rows[3][4];
#pragma unroll
    for (int r = 0; r < 3; ++r) {
      float taps[3];
#pragma unroll
      for (int s = 0; s < 3; ++s)
        taps[s] =
            load_global_or_zero<float>(p.weight + (first + (r * 3 + s) * p.tap_stride), exists);
      transform_filter(taps, rows[r]);
    }
    float* to = p.u + static_cast<int64_t>(panel) * (winograd_places * filters * channels) + within;
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      float column[4];
      transform_filter({rows[0][w], rows[1][w], rows[2][w]}, column);
#pragma unroll
      for (int h = 0; h < 4; ++h) store_global(to + (h * 4 + w) * (filters * channels), column[h]);
    }
  }
}

}  // namespace

void launch_winograd_filter(const ConvProblem& problem, const ConvTensors& tensors,
                            cudaStream_t stream) {
  const WinogradWeights weights(problem);
  const WinogradView view(problem);
  const FilterParams params{
      .weight = static_cast<const float*>(tensors.weight) + weights.first_tap,
      .u = static_cast<float*>(tensors.workspace),
      .filter_stride = weights.filter_stride,
      .channel_stride = weights.channel_stride,
      .tap_stride = weights.tap_stride,
      .elements = winograd_workspace_bytes(problem) / (4 * winograd_places),
      .filters = static_cast<int>(view.out_channels),
      .channels = static_cast<int>(view.in_channels),
      .steps = static_cast<int>((view.in_channels + winograd_tile.k - 1) / winograd_tile.k)};
  const auto blocks = static_cast<unsigned>((params.elements + threads - 1) / threads);
  CNNKERN_LAUNCH(winograd_filter, dim3(blocks), dim3(threads), 0, stream, params);
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
