// Winograd's minimal filtering F(2×2, 3×3) for float32, in one kernel: 3×3, stride 1, one group.
//
// 2 × 2 outputs come from a patch of 4 × 4 inputs: Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A, summed over the
// channels between the two transforms: 16 products a channel instead of 36. So there are 16 GEMMs,
// one for each place of a patch: U (filters × channels) · V (channels × patches). dgrad is the same
// with the filter turned by 180 degrees and C and K exchanged. winograd_filter.cu writes U before.
// A block makes 64 filters of 32 patches, 8 channels a step; a warp has two of the 16 places, a
// thread 8 filters × 8 patches of both. Each thread transforms one patch of one channel a step; the
// next step's travel in registers while this one is multiplied, so one buffer will do.
// Shared memory: u[place][channel][filter] and v[place][channel][patch] with groups of four patches
// exchanged by the channel (no bank conflict), 48 KiB; at the end the sums change hands through it.
// Source: Lavin & Gray, "Fast algorithms for convolutional neural networks" (CVPR 2016); Yan, Wang
// & Chu, "Optimizing batched Winograd convolution on GPUs" (PPoPP 2020).
#include "common/fast_divmod.h"
#include "cuda/conv/conv_bias_act.cuh"
#include "cuda/conv/tile_position.cuh"
#include "cuda/conv/winograd.cuh"
#include "cuda/primitives/shared.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

constexpr int places = winograd_places, filters = winograd_tile.m, patches = winograd_tile.n,
              channels = winograd_tile.k, threads = winograd_threads;

/// fprop in its own words; of dgrad, the gradient of the output is this input.
struct WinogradParams {
  const float *input, *u, *bias;
  float* output;
  int in_channels, out_channels, in_h, in_w, out_h, out_w, pad_h, pad_w, patches;
  FastDivmod patches_of_image, patches_of_row;
  ConvBiasAct<float> finish;
};

union WinogradShared {
  struct {
    float u[places][channels][filters];
    float v[places][channels][patches];
  } operand;
  float sums[places][filters * patches / 4];  // of a quarter of the results
};
static_assert(sizeof(WinogradShared) == winograd_shared_bytes);

struct Patch {
  int image, h, w;  // h, w: of its first output

  __device__ __forceinline__ Patch(const WinogradParams& p, int index) {
    int within;
    image = p.patches_of_image.divmod(index, within);
    h = p.patches_of_row.divmod(within, w) * 2;
    w *= 2;
  }
};

/// Bᵀ x for four numbers that lie `stride` apart.
template <int stride>
__device__ __forceinline__ void transform_input(float* x) {
  const float x0 = x[0], x1 = x[stride], x2 = x[2 * stride], x3 = x[3 * stride];
  x[0] = x0 - x2;
  x[stride] = x1 + x2;
  x[2 * stride] = x2 - x1;
  x[3 * stride] = x1 - x3;
}

/// A thread's patch of one channel, and its sixteenth of every row of filters.
template <Layout layout>
class OperandLoader {
  using Four = Vector<float, 4>;
  static constexpr int fours = places * channels * filters / 4 / threads;
  static constexpr bool channels_last = layout == Layout::nhwc;

 public:
  __device__ __forceinline__ OperandLoader(const WinogradParams& p, int first_filter,
                                           int first_patch)
      : p_(p),
        thread_(static_cast<int>(threadIdx.x)),
        channel_(channels_last ? thread_ % channels : thread_ / patches),
        patch_(channels_last ? thread_ / channels : thread_ % patches) {
    const int index = first_patch + patch_;
    const Patch at(p, index);
    const int h = at.h - p.pad_h, w = at.w - p.pad_w;
#pragma unroll
    for (int place = 0; place < places; ++place) {
      const bool inside = static_cast<unsigned>(h + place / 4) < static_cast<unsigned>(p.in_h) &&
                          static_cast<unsigned>(w + place % 4) < static_cast<unsigned>(p.in_w);
      inside_ |= inside << place;
    }
    if (index >= p.patches) inside_ = 0;
    const int64_t area = static_cast<int64_t>(p.in_h) * p.in_w,
                  pixel = static_cast<int64_t>(h) * p.in_w + w;
    input_ = at.image * area * p.in_channels +
             (channels_last ? pixel * p.in_channels + channel_ : channel_ * area + pixel);
    step_ = channels_last ? channels : channels * area;
    const int steps = (p.in_channels + channels - 1) / channels;
    u_ = p.u + static_cast<int64_t>(first_filter / filters) * steps * (places * channels * filters);
  }

  /// Loads the next step's operands into registers.
  __device__ __forceinline__ void load() {
    const int pixel = channels_last ? p_.in_channels : 1;
    const unsigned inside = channel_ < p_.in_channels ? inside_ : 0;
#pragma unroll
    for (int place = 0; place < places; ++place)
      staged_v_[place] = load_global_or_zero<float>(
          p_.input + (input_ + (place / 4 * p_.in_w + place % 4) * pixel), inside >> place & 1);
#pragma unroll
    for (int i = 0; i < fours; ++i)
      staged_u_[i] = load_global_readonly<Four>(u_ + (i * threads + thread_) * 4);
    channel_ += channels;
    input_ += step_;
    u_ += places * channels * filters;
  }

  /// Stores what was loaded; the patch transformed.
  __device__ __forceinline__ void store(WinogradShared& shared) {
#pragma unroll
    for (int i = 0; i < 4; ++i) transform_input<4>(staged_v_ + i);
#pragma unroll
    for (int i = 0; i < 4; ++i) transform_input<1>(staged_v_ + i * 4);
    const int row = channels_last ? thread_ % channels : thread_ / patches;
#pragma unroll
    for (int place = 0; place < places; ++place)
      store_shared(&shared.operand.v[place][row][patch_ ^ row * 4], staged_v_[place]);
#pragma unroll
    for (int i = 0; i < fours; ++i)
      store_shared(&shared.operand.u[0][0][0] + (i * threads + thread_) * 4, staged_u_[i]);
  }

 private:
  const WinogradParams& p_;
  int thread_, channel_, patch_;
  unsigned inside_ = 0;  // a bit for each place: whether it is in the image
  int64_t input_, step_;
  const float* u_;
  float staged_v_[places];
  Four staged_u_[fours];
};

/// A thread's sums, and where they belong. Of its eight filters (patches) the first four and the
/// last are neighbours; lanes whose stores meet in a row of the result come one after another.
template <Layout layout>
struct Sums {
  static constexpr int own_places = places / (threads / 32);
  static constexpr bool channels_last = layout == Layout::nhwc;
  float of[own_places][8][8] = {};
  int first_place = static_cast<int>(threadIdx.x) / 32 * own_places;
  int lane = static_cast<int>(threadIdx.x) % 32;
  int filter_lane = channels_last ? lane % 8 : lane / 4;
  int patch_lane = channels_last ? lane / 8 : lane % 4;

  __device__ __forceinline__ static int filter(int lane, int i) {
    return i / 4 * (filters / 2) + lane * 4 + i % 4;
  }
  __device__ __forceinline__ static int patch(int lane, int j) {
    return j / 4 * (patches / 2) + lane * 4 + j % 4;
  }

  /// += U · V of the channels in shared memory.
  __device__ __forceinline__ void multiply(const WinogradShared& shared) {
    using Four = Vector<float, 4>;
#pragma unroll 4
    for (int c = 0; c < channels; ++c)
#pragma unroll
      for (int place = 0; place < own_places; ++place) {
        const float* u = shared.operand.u[first_place + place][c];
        const float* v = shared.operand.v[first_place + place][c];
        Four a[2], b[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          a[half] = load_shared<Four>(u + filter(filter_lane, half * 4));
          b[half] = load_shared<Four>(v + (patch(patch_lane, half * 4) ^ c * 4));
        }
#pragma unroll
        for (int i = 0; i < 8; ++i)
#pragma unroll
          for (int j = 0; j < 8; ++j)
            of[place][i][j] = fmaf(a[i / 4][i % 4], b[j / 4][j % 4], of[place][i][j]);
      }
  }

  // The results change hands in four rounds, each of two filters (N C H W) or two patches (channels
  // last) of every thread: rows of all patches of a filter, or of all filters of a patch.
  static constexpr int rounds = 4, row_length = channels_last ? filters : patches;

  /// Gives two of the eight away, and moves the others up: no loop can index registers.
  __device__ __forceinline__ void give(WinogradShared& shared) {
    using Four = Vector<float, 4>;
#pragma unroll
    for (int place = 0; place < own_places; ++place)
#pragma unroll
      for (int two = 0; two < 2; ++two)
#pragma unroll
        for (int x = 0; x < 8; x += 4) {
          const int row = channels_last ? two * 4 + patch_lane : two * 8 + filter_lane;
          const int along = channels_last ? filter(filter_lane, x) : patch(patch_lane, x);
          Four four;
#pragma unroll
          for (int y = 0; y < 4; ++y)
            four[y] = channels_last ? of[place][x + y][two] : of[place][two][x + y];
          store_shared(&shared.sums[first_place + place][row * row_length + turn(row, along)],
                       four);
        }
#pragma unroll
    for (int place = 0; place < own_places; ++place)
#pragma unroll
      for (int x = 0; x < 8; ++x)
#pragma unroll
        for (int y = 0; y < 6; ++y)
          if constexpr (channels_last) of[place][x][y] = of[place][x][y + 2];
          else of[place][y][x] = of[place][y + 2][x];
  }

  /// Rows of 16 banks and two filters a quarter of a warp: every second row begins in its middle.
  __device__ __forceinline__ static int turn(int row, int along) {
    return channels_last ? along : along ^ (row & 1) * (patches / 2);
  }

  /// Which filter and which patch of the block the round's `index`-th result is.
  __device__ __forceinline__ static void owner(int round, int index, int& filter_of, int& patch_of,
                                               int& at) {
    const int row = index / row_length, along = index % row_length;
    at = row * row_length + turn(row, along);
    if constexpr (channels_last) {
      filter_of = along;
      patch_of = patch(row % 4, round * 2 + row / 4);
    } else {
      filter_of = filter(row % 8, round * 2 + row / 8);
      patch_of = along;
    }
  }
};

/// Aᵀ x for four numbers.
__device__ __forceinline__ void transform_output(const float (&x)[4], float& y0, float& y1) {
  y0 = x[0] + x[1] + x[2];
  y1 = x[1] - x[2] - x[3];
}

/// Adds up the 16 places of one patch, and stores its four outputs.
template <Layout layout>
__device__ __forceinline__ void store_patch(const WinogradParams& p, const WinogradShared& shared,
                                            int at, int filter, int index) {
  if (filter >= p.out_channels || index >= p.patches) return;
  float rows[2][4];
#pragma unroll
  for (int w = 0; w < 4; ++w) {
    float column[4];
#pragma unroll
    for (int h = 0; h < 4; ++h) column[h] = load_shared<float>(&shared.sums[h * 4 + w][at]);
    transform_output(column, rows[0][w], rows[1][w]);
  }
  const Patch patch(p, index);
  const int64_t area = static_cast<int64_t>(p.out_h) * p.out_w;
  const int64_t pixel = static_cast<int64_t>(patch.h) * p.out_w + patch.w;
  const int64_t stride = layout == Layout::nhwc ? p.out_channels : 1;
  const int64_t first = patch.image * area * p.out_channels + pixel * stride +
                        (layout == Layout::nhwc ? filter : filter * area);
  const float bias = p.bias ? load_global_readonly<float>(p.bias + filter) : 0.0f;
  const auto exists = [&](int i) { return patch.h + i / 2 < p.out_h && patch.w + i % 2 < p.out_w; };
  const auto place = [&](int i) { return first + (i / 2 * p.out_w + i % 2) * stride; };
  float y[4];
#pragma unroll
  for (int h = 0; h < 2; ++h) transform_output(rows[h], y[h * 2], y[h * 2 + 1]);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (p.bias) y[i] += bias;
    if (exists(i)) y[i] = p.finish.before(place(i), y[i]);
  }
  with_activation<float>(p.finish.activation, [&](const auto& function) {
#pragma unroll
    for (int i = 0; i < 4; ++i) y[i] = function(y[i]);
  });
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (exists(i)) store_global(p.output + place(i), y[i]);
}

template <Layout layout>
__global__ void __launch_bounds__(256, 1) winograd(WinogradParams p) {
  CNNKERN_SHARED(WinogradShared, shared);
  const TilePosition tile(p.out_channels, patches, filters);
  OperandLoader<layout> operands(p, tile.n, tile.m);
  Sums<layout> sums;
  operands.load();
  for (int channel = 0; channel < p.in_channels; channel += channels) {
    operands.store(shared);
    __syncthreads();
    if (channel + channels < p.in_channels) operands.load();
    sums.multiply(shared);
    __syncthreads();
  }
#pragma unroll 1
  for (int round = 0; round < sums.rounds; ++round) {
    sums.give(shared);
    __syncthreads();
#pragma unroll 1
    for (int index = static_cast<int>(threadIdx.x); index < filters * patches / sums.rounds;
         index += threads) {
      int filter, patch, at;
      sums.owner(round, index, filter, patch, at);
      store_patch<layout>(p, shared, at, tile.n + filter, tile.m + patch);
    }
    __syncthreads();
  }
}

}  // namespace

template <ConvDirection direction, Layout layout>
void launch_winograd(const ConvPlan& plan, const ConvProblem& problem, const ConvTensors& tensors,
                     cudaStream_t stream) {
  constexpr bool forward = direction == ConvDirection::fprop;
  const Extent3 &in = forward ? problem.input : problem.output,
                &out = forward ? problem.output : problem.input;
  const auto narrow = [](int64_t size) { return static_cast<int>(size); };
  const int rows = narrow((out.h + 1) / 2), columns = narrow((out.w + 1) / 2);
  launch_winograd_filter(problem, tensors, stream);
  const auto pad = [&](int axis) {
    return narrow(forward ? problem.pad_begin[axis] : 2 - problem.pad_begin[axis]);
  };
  const WinogradParams params{
      .input = static_cast<const float*>(forward ? tensors.input : tensors.output),
      .u = static_cast<const float*>(tensors.workspace),
      .bias = static_cast<const float*>(tensors.bias),
      .output = static_cast<float*>(forward ? tensors.output : tensors.input),
      .in_channels = narrow(forward ? problem.c : problem.k),
      .out_channels = narrow(forward ? problem.k : problem.c),
      .in_h = narrow(in.h),
      .in_w = narrow(in.w),
      .out_h = narrow(out.h),
      .out_w = narrow(out.w),
      .pad_h = pad(1),
      .pad_w = pad(2),
      .patches = narrow(problem.n) * rows * columns,
      .patches_of_image = FastDivmod(int64_t{rows} * columns),
      .patches_of_row = FastDivmod(columns),
      .finish = {problem, tensors}};
  CNNKERN_LAUNCH((winograd<layout>), grid_of(plan), dim3(plan.threads), plan.shared_bytes, stream,
                 params);
}

#define CNNKERN_WINOGRAD(direction, layout)                                \
  template void launch_winograd<ConvDirection::direction, Layout::layout>( \
      const ConvPlan&, const ConvProblem&, const ConvTensors&, cudaStream_t);
#include "cuda/conv/conv_kernels.inc"

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
