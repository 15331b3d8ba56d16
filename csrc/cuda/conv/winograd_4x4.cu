// Winograd's minimal filtering F(4×4, 3×3) for float32, in four kernels: 3×3, stride 1, one group.
//
// 4 × 4 outputs come from a patch of 6 × 6 inputs, Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A, summed over the
// channels between the two transforms: 36 products a channel instead of 144. So there are 36 GEMMs,
// one for each place of a patch: U (filters × channels) · V (channels × patches). They are a 1×1
// convolution of patches in 36 groups, and fprop.cu computes them as any other. Too many sums for a
// block to keep, so U, V and the products lie in the workspace, of a slice of patches at a time
// that L2 can hold. dgrad is the same with the filter turned by 180 degrees and C and K exchanged.
//   u[place][filter][channel]    v and products[patch][place][channel], channels last
//                                               [place][channel][patch], N C D H W
// Tiling: a thread transforms one filter, or one channel of a patch, in registers; neighbours are
// neighbours along the last axis. No shared memory. Points of interpolation: 0, ±1, ±2, infinity.
// Source: Lavin & Gray, "Fast algorithms for convolutional neural networks" (CVPR 2016).
#include "common/ceil_div.h"
#include "common/fast_divmod.h"
#include "cuda/conv/conv_bias_act.cuh"
#include "cuda/conv/winograd.cuh"
#include "cuda/conv/winograd_4x4_plan.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

constexpr int threads = 128, places = winograd_4x4_places;

/// Bᵀ x, G x and Aᵀ x: lines of a transform.
__device__ __forceinline__ void transform(const float (&x)[6], float (&y)[6]) {
  const float even = fmaf(-4.0f, x[2], x[4]), odd = fmaf(-4.0f, x[1], x[3]);
  const float far = x[4] - x[2], near = x[3] - x[1];
  y[0] = fmaf(-5.0f, x[2], fmaf(4.0f, x[0], x[4]));
  y[1] = even + odd;
  y[2] = even - odd;
  y[3] = fmaf(2.0f, near, far);
  y[4] = fmaf(-2.0f, near, far);
  y[5] = fmaf(-5.0f, x[3], fmaf(4.0f, x[1], x[5]));
}
__device__ __forceinline__ void transform(const float (&x)[3], float (&y)[6]) {
  const float sum = (x[0] + x[2]) * (-1 / 6.0f), middle = x[1] * (1 / 6.0f);
  const float far = fmaf(x[0], 1 / 24.0f, x[2] * (1 / 6.0f)), near = x[1] * (1 / 12.0f);
  y[0] = x[0] * 0.25f;
  y[1] = sum - middle;
  y[2] = sum + middle;
  y[3] = far + near;
  y[4] = far - near;
  y[5] = x[2];
}
__device__ __forceinline__ void transform(const float (&x)[6], float (&y)[4]) {
  const float near_sum = x[1] + x[2], near = x[1] - x[2];
  const float far_sum = x[3] + x[4], far = x[3] - x[4];
  y[0] = x[0] + near_sum + far_sum;
  y[1] = fmaf(2.0f, far, near);
  y[2] = fmaf(4.0f, far_sum, near_sum);
  y[3] = fmaf(8.0f, far, near) + x[5];
}

/// Columns, then rows: load(row, column) gives a number, store(row, column, number) takes one.
template <int from, int to, class Load, class Store>
__device__ __forceinline__ void transform_square(const Load& load, const Store& store) {
  float half[to][from];
#pragma unroll
  for (int column = 0; column < from; ++column) {
    float x[from], y[to];
#pragma unroll
    for (int row = 0; row < from; ++row) x[row] = load(row, column);
    transform(x, y);
#pragma unroll
    for (int row = 0; row < to; ++row) half[row][column] = y[row];
  }
#pragma unroll
  for (int row = 0; row < to; ++row) {
    float y[to];
    transform(half[row], y);
#pragma unroll
    for (int column = 0; column < to; ++column) store(row, column, y[column]);
  }
}

struct FilterParams {
  const float* weight;  // its first tap, in the order of the transform
  float* u;
  FastDivmod channels;
  int pairs;  // of a filter and a channel
  int64_t filter_stride, channel_stride, tap_stride;
};

__global__ void __launch_bounds__(128) winograd_4x4_filters(FilterParams p) {
  const int pair = static_cast<int>(grid_thread());
  if (pair >= p.pairs) return;
  int channel;
  const int filter = p.channels.divmod(pair, channel);
  const float* taps = p.weight + filter * p.filter_stride + channel * p.channel_stride;
  transform_square<3, 6>(
      [&](int r, int s) { return load_global_readonly<float>(taps + (r * 3 + s) * p.tap_stride); },
      [&](int h, int w, float number) {
        store_global(p.u + (int64_t{h} * 6 + w) * p.pairs + pair, number);
      });
}

/// One side of the transform, input or output: a dense tensor of planes, and its patches.
template <Layout layout>
struct PatchesParams {
  static constexpr bool channels_last = layout == Layout::nhwc;
  float *planes, *patches;  // patches: of the slice
  int channels, h, w;       // of the planes
  int pad_h, pad_w;
  int first, count;  // of the slice
  FastDivmod neighbours, patches_of_image, patches_of_row;

  /// What the thread's index stands for; false if nothing.
  __device__ __forceinline__ bool split(int& patch, int& channel) const {
    const auto index = static_cast<int>(grid_thread());
    if (index >= count * channels) return false;
    if constexpr (channels_last) patch = neighbours.divmod(index, channel);
    else channel = neighbours.divmod(index, patch);
    return true;
  }
  /// Where a patch's first place lies, and how far the next one is.
  __device__ __forceinline__ int64_t place(int patch, int channel) const {
    return channels_last ? static_cast<int64_t>(patch) * places * channels + channel
                         : static_cast<int64_t>(channel) * count + patch;
  }
  __device__ __forceinline__ int place_stride() const {
    return channels_last ? channels : channels * count;
  }
  /// The pixel (row, column) of a channel's first patch pixel, in the planes; and its place there.
  __device__ __forceinline__ int64_t corner(int patch, int channel, int& row, int& column) const {
    int within;
    const int image = patches_of_image.divmod(first + patch, within);
    row = patches_of_row.divmod(within, column) * 4 - pad_h;
    column = column * 4 - pad_w;
    const int64_t area = int64_t{h} * w, pixel = int64_t{row} * w + column;
    return image * area * channels +
           (channels_last ? pixel * channels + channel : channel * area + pixel);
  }
  __device__ __forceinline__ int pixel_stride() const { return channels_last ? channels : 1; }
};

template <Layout layout>
__global__ void __launch_bounds__(128) winograd_4x4_patches(PatchesParams<layout> p) {
  int patch, channel, row, column;
  if (!p.split(patch, channel)) return;
  const float* from = p.planes + p.corner(patch, channel, row, column);
  float* to = p.patches + p.place(patch, channel);
  const int stride = p.place_stride();
  transform_square<6, 6>(
      [&](int h, int w) {
        const bool inside = static_cast<unsigned>(row + h) < static_cast<unsigned>(p.h) &&
                            static_cast<unsigned>(column + w) < static_cast<unsigned>(p.w);
        return load_global_or_zero<float>(from + int64_t{h * p.w + w} * p.pixel_stride(), inside);
      },
      [&](int h, int w, float number) { store_global(to + int64_t{h * 6 + w} * stride, number); });
}

template <Layout layout>
__global__ void __launch_bounds__(128)
    winograd_4x4_results(PatchesParams<layout> p, const float* bias_of, ConvBiasAct<float> finish) {
  int patch, channel, row, column;
  if (!p.split(patch, channel)) return;
  const int64_t first = p.corner(patch, channel, row, column);
  const float* from = p.patches + p.place(patch, channel);
  const int stride = p.place_stride();
  const float bias = bias_of ? load_global_readonly<float>(bias_of + channel) : 0.0f;
  const auto exists = [&](int h, int w) { return row + h < p.h && column + w < p.w; };
  const auto place = [&](int h, int w) { return first + int64_t{h * p.w + w} * p.pixel_stride(); };
  float y[4][4];
  transform_square<6, 4>(
      [&](int h, int w) { return load_global<float>(from + int64_t{h * 6 + w} * stride); },
      [&](int h, int w, float number) {
        y[h][w] = bias_of ? number + bias : number;
        if (exists(h, w)) y[h][w] = finish.before(place(h, w), y[h][w]);
      });
  with_activation<float>(finish.activation, [&](const auto& function) {
#pragma unroll
    for (auto& line : y)
#pragma unroll
      for (float& number : line) number = function(number);
  });
#pragma unroll
  for (int h = 0; h < 4; ++h)
#pragma unroll
    for (int w = 0; w < 4; ++w)
      if (exists(h, w)) store_global(p.planes + place(h, w), y[h][w]);
}

dim3 blocks_for(int64_t count) { return dim3(static_cast<unsigned>(ceil_div(count, threads))); }

void transform_filters(const ConvProblem& problem, const ConvTensors& tensors, float* u,
                       cudaStream_t stream) {
  const WinogradWeights weights(problem);
  const FilterParams params{.weight = static_cast<const float*>(tensors.weight) + weights.first_tap,
                            .u = u,
                            .channels = FastDivmod(WinogradView(problem).in_channels),
                            .pairs = static_cast<int>(problem.k * problem.c),
                            .filter_stride = weights.filter_stride,
                            .channel_stride = weights.channel_stride,
                            .tap_stride = weights.tap_stride};
  CNNKERN_LAUNCH(winograd_4x4_filters, blocks_for(params.pairs), dim3(threads), 0, stream, params);
}

/// products = U · V, by the tile of the plan.
template <Layout layout, int vector>
void multiply(const ConvPlan& plan, const ConvProblem& products, const ConvTensors& tensors,
              cudaStream_t stream) {
  if (plan.tile.m == 128)
    launch_gemm_fprop<float, layout, vector, 128, 128, 8>(plan, products, tensors, stream);
  else launch_gemm_fprop<float, layout, vector, 64, 64, 8>(plan, products, tensors, stream);
}

}  // namespace

template <ConvDirection direction, Layout layout>
void launch_winograd_4x4(const ConvPlan& plan, const ConvProblem& problem,
                         const ConvTensors& tensors, cudaStream_t stream) {
  constexpr bool forward = direction == ConvDirection::fprop,
                 channels_last = layout == Layout::nhwc;
  const Winograd4x4Workspace space(problem, plan.workspace_bytes);
  auto* workspace = static_cast<std::byte*>(tensors.workspace);
  const auto at = [&](int64_t offset) { return reinterpret_cast<float*>(workspace + offset); };
  transform_filters(problem, tensors, at(0), stream);

  const WinogradView view(problem);
  const auto narrow = [](int64_t size) { return static_cast<int>(size); };
  const auto pad = [&](int axis) {
    return narrow(forward ? problem.pad_begin[axis] : 2 - problem.pad_begin[axis]);
  };
  const int64_t columns = ceil_div(view.out.w, 4), rows = ceil_div(view.out.h, 4);
  for (int64_t first = 0; first < space.patches; first += space.slice) {
    const int64_t count = std::min(space.slice, space.patches - first);
    const auto side = [&](void* planes, int64_t offset, int64_t channels, const Extent3& extent,
                          int pad_h, int pad_w) {
      return PatchesParams<layout>{.planes = static_cast<float*>(planes),
                                   .patches = at(offset),
                                   .channels = narrow(channels),
                                   .h = narrow(extent.h),
                                   .w = narrow(extent.w),
                                   .pad_h = pad_h,
                                   .pad_w = pad_w,
                                   .first = narrow(first),
                                   .count = narrow(count),
                                   .neighbours = FastDivmod(channels_last ? channels : count),
                                   .patches_of_image = FastDivmod(rows * columns),
                                   .patches_of_row = FastDivmod(columns)};
    };
    const auto in = side(forward ? tensors.input : tensors.output, space.v, view.in_channels,
                         view.in, pad(1), pad(2));
    CNNKERN_LAUNCH((winograd_4x4_patches<layout>), blocks_for(count * view.in_channels),
                   dim3(threads), 0, stream, in);

    const ConvProblem products = winograd_4x4_products(problem, count);
    ConvPlan of_slice = plan;
    of_slice.grid = winograd_4x4_grid(products, plan.tile);
    ConvTensors operands;
    operands.input = at(space.v), operands.weight = at(0), operands.output = at(space.products);
    if constexpr (channels_last)
      if (view.in_channels % 4 == 0) multiply<layout, 4>(of_slice, products, operands, stream);
      else multiply<layout, 1>(of_slice, products, operands, stream);
    else multiply<layout, 1>(of_slice, products, operands, stream);

    const auto out = side(forward ? tensors.output : tensors.input, space.products,
                          view.out_channels, view.out, 0, 0);
    CNNKERN_LAUNCH((winograd_4x4_results<layout>), blocks_for(count * view.out_channels),
                   dim3(threads), 0, stream, out, static_cast<const float*>(tensors.bias),
                   ConvBiasAct<float>(problem, tensors));
  }
}

#define CNNKERN_WINOGRAD_4X4(direction, layout)                                \
  template void launch_winograd_4x4<ConvDirection::direction, Layout::layout>( \
      const ConvPlan&, const ConvProblem&, const ConvTensors&, cudaStream_t);
#include "cuda/conv/conv_kernels.inc"

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
