// The mean of whole planes: an average pooling with one window that is the input.
//
// One thread an output would be few threads, each with a long way. Here a block of 8 warps shares
// the pixels.
// channels last: a block owns 32 neighbouring vectors of 16 bytes of channels of one image; a warp
// takes every eighth pixel, so that its lanes read 512 bytes in a row, and sums stay in registers.
// The warps' sums meet in shared memory, sum[warp][channel of a vector][lane] without bank
// conflicts, and are added in order.
// N C D H W: a warp owns a plane, or, if planes are large, the block does; lanes read neighbouring
// pixels. A butterfly adds the lanes' sums, shared memory the warps'.
// Each way is one fixed tree, so results repeat bit for bit; sums are float (double for float64).
#include "cuda/indexing.cuh"
#include "cuda/pool/channel_vectors.cuh"
#include "cuda/pool/pool_launch.h"
#include "cuda/primitives/ldst.cuh"
#include "cuda/primitives/shared.cuh"
#include "cuda/primitives/warp.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

// With the second bound ptxas takes the registers it needs; left to choose an occupancy it spills.
constexpr int threads = pool_threads, blocks = 4, warps = threads / 32;

template <class T, int V>
struct VectorSums {
  accumulator_t<T> sum[warps][V][32];
};

template <class T>
struct WarpSums {
  accumulator_t<T> sum[warps];
};

template <class T, int V>
__global__ void __launch_bounds__(threads, blocks)
    global_avg_pool_nhwc(int64_t columns, int64_t volume, FastDivmod64 by_groups, int64_t divisor,
                         const Vector<T, V>* __restrict__ input,
                         Vector<T, V>* __restrict__ output) {
  using A = accumulator_t<T>;
  using Shared = VectorSums<T, V>;
  CNNKERN_SHARED(Shared, shared);
  const int lane = lane_index(), warp = warp_index();
  int64_t group;
  const int64_t image = by_groups.divmod(blockIdx.x, group);
  const int64_t column = group * 32 + lane;
  A sum[V] = {};
  if (column < columns) {
    const Vector<T, V>* const plane = input + image * volume * columns + column;
#pragma unroll 4
    for (int64_t pixel = warp; pixel < volume; pixel += warps)
      add_to(sum, load_global_readonly<Vector<T, V>>(plane + pixel * columns));
  }
#pragma unroll
  for (int v = 0; v < V; ++v) store_shared(&shared.sum[warp][v][lane], sum[v]);
  __syncthreads();
  if (warp != 0 || column >= columns) return;
#pragma unroll
  for (int v = 0; v < V; ++v) {
    for (int other = 1; other < warps; ++other)
      sum[v] += load_shared<A>(&shared.sum[other][v][lane]);
    sum[v] /= static_cast<A>(divisor);
  }
  store_global(output + image * columns + column, rounded<T, V>(sum));
}

template <class T, int warps_of_a_plane>
__global__ void __launch_bounds__(threads, blocks)
    global_avg_pool_nchw(int64_t planes, int64_t volume, int64_t divisor,
                         const T* __restrict__ input, T* __restrict__ output) {
  using A = accumulator_t<T>;
  CNNKERN_SHARED(WarpSums<T>, shared);
  const int lane = lane_index(), warp = warp_index();
  const int part = warp % warps_of_a_plane;
  const int64_t plane =
      static_cast<int64_t>(blockIdx.x) * (warps / warps_of_a_plane) + warp / warps_of_a_plane;
  if (plane >= planes) return;  // whole warps, and no block that shares a plane
  const T* const pixels = input + plane * volume;
  A sum = 0;
#pragma unroll 4
  for (int64_t pixel = part * 32 + lane; pixel < volume; pixel += warps_of_a_plane * 32)
    sum += load_as_accumulator(pixels + pixel);
  sum = warp_sum(full_warp, sum);
  if constexpr (warps_of_a_plane > 1) {
    if (lane == 0) store_shared(&shared.sum[warp], sum);
    __syncthreads();
    sum = 0;
    for (int other = 0; other < warps; ++other) sum += load_shared<A>(&shared.sum[other]);
  }
  if (part == 0 && lane == 0) store_global(output + plane, T(sum / static_cast<A>(divisor)));
}

template <class T, int V>
void launch_nhwc(const AvgPoolProblem& p, const AvgPoolTensors& tensors, cudaStream_t stream) {
  const int64_t columns = p.c / V, groups = (columns + 31) / 32;
  CNNKERN_LAUNCH((global_avg_pool_nhwc<T, V>), dim3(static_cast<unsigned>(p.n * groups)),
                 dim3(threads), sizeof(VectorSums<T, V>), stream, columns, p.input.volume(),
                 FastDivmod64(groups), p.uniform_divisor(),
                 static_cast<const Vector<T, V>*>(tensors.input),
                 static_cast<Vector<T, V>*>(tensors.output));
}

template <class T, int warps_of_a_plane>
void launch_nchw(const AvgPoolProblem& p, const AvgPoolTensors& tensors, cudaStream_t stream) {
  const int64_t planes = p.n * p.c;
  CNNKERN_LAUNCH((global_avg_pool_nchw<T, warps_of_a_plane>),
                 dim3(static_cast<unsigned>(pool_blocks(planes * warps_of_a_plane * 32))),
                 dim3(threads), sizeof(WarpSums<T>), stream, planes, p.input.volume(),
                 p.uniform_divisor(), static_cast<const T*>(tensors.input),
                 static_cast<T*>(tensors.output));
}

}  // namespace

void launch_global_avg_pool(const AvgPoolProblem& problem, const AvgPoolTensors& tensors,
                            bool vectors, cudaStream_t stream) {
  const bool block_a_plane = plane_warps(problem) > 1;
  dispatch(problem.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto launch = problem.layout == Layout::nchw
                            ? (block_a_plane ? launch_nchw<T, warps> : launch_nchw<T, 1>)
                            : (vectors ? launch_nhwc<T, wide<T>> : launch_nhwc<T, 1>);
    launch(problem, tensors, stream);
  });
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
