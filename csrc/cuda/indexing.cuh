// Where an element of a dense N C D H W tensor lies, for either layout, in 64 bits. The kernels
// that take any shape (direct convolution, pooling, bias gradient) walk tensors in memory order
// with these, so that neighbouring threads touch neighbouring addresses in both layouts.
#pragma once

#include "common/conv_problem.h"
#include "common/launch.h"
#include "cuda/primitives/ldst.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

/// FastDivmod (common/fast_divmod.h) for 63-bit numbers: also free of the function call that a
/// 64-bit division is on a GPU.
struct FastDivmod64 {
  uint64_t divisor = 1, multiplier = 1;
  uint32_t shift = 0;

  FastDivmod64() = default;
  explicit FastDivmod64(int64_t d) : divisor(static_cast<uint64_t>(d)) {
    while ((uint64_t{1} << shift) < divisor) ++shift;
    const auto scaled = static_cast<unsigned __int128>((uint64_t{1} << shift) - divisor) << 64;
    multiplier = static_cast<uint64_t>(scaled / divisor + 1);
  }

  /// n / divisor for 0 <= n < 2^63.
  CNNKERN_HOST_DEVICE int64_t divide(int64_t n) const {
    const auto dividend = static_cast<uint64_t>(n);
#if defined(__CUDA_ARCH__)
    const uint64_t high = __umul64hi(multiplier, dividend);
#else
    const auto high =
        static_cast<uint64_t>(static_cast<unsigned __int128>(multiplier) * dividend >> 64);
#endif
    return static_cast<int64_t>((high + dividend) >> shift);
  }

  /// The quotient; the remainder goes to `remainder`.
  CNNKERN_HOST_DEVICE int64_t divmod(int64_t n, int64_t& remainder) const {
    const int64_t quotient = divide(n);
    remainder = n - quotient * static_cast<int64_t>(divisor);
    return quotient;
  }
};

struct Position {
  int64_t n, c, d, h, w;
};

/// One tensor of a problem; built on the host, used in kernels.
struct TensorShape {
  Layout layout;
  int64_t channels, volume;
  int64_t image_stride, channel_stride, pixel_stride;  // elements
  Extent3 extent;
  FastDivmod64 by_channels, by_d, by_h, by_w;

  TensorShape(Layout layout_, int64_t channels_, const Extent3& extent_)
      : layout(layout_),
        channels(channels_),
        volume(extent_.volume()),
        image_stride(channels * volume),
        channel_stride(layout == Layout::nhwc ? 1 : volume),
        pixel_stride(layout == Layout::nhwc ? channels : 1),
        extent(extent_),
        by_channels(divisor(channels)),
        by_d(divisor(extent.d)),
        by_h(divisor(extent.h)),
        by_w(divisor(extent.w)) {}

  CNNKERN_HOST_DEVICE int64_t offset(int64_t n, int64_t c, int64_t d, int64_t h, int64_t w) const {
    return n * image_stride + c * channel_stride +
           ((d * extent.h + h) * extent.w + w) * pixel_stride;
  }

  /// The position of the index-th element in memory.
  CNNKERN_HOST_DEVICE Position position(int64_t index) const {
    Position at;
    if (layout == Layout::nhwc) index = by_channels.divmod(index, at.c);
    index = by_w.divmod(index, at.w);
    index = by_h.divmod(index, at.h);
    index = by_d.divmod(index, at.d);
    if (layout == Layout::nchw) index = by_channels.divmod(index, at.c);
    at.n = index;
    return at;
  }

 private:
  // An empty tensor has no positions, but may be described.
  static FastDivmod64 divisor(int64_t size) { return FastDivmod64(size > 0 ? size : 1); }
};

/// An element, in the type that sums of such elements are kept in.
template <class T>
__device__ __forceinline__ accumulator_t<T> load_as_accumulator(const T* element) {
  return static_cast<accumulator_t<T>>(load_global_readonly<T>(element));
}

/// This thread's first index of a grid-stride loop over a one-dimensional grid, and its step.
__device__ __forceinline__ int64_t grid_thread() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ __forceinline__ int64_t grid_threads() {
  return static_cast<int64_t>(gridDim.x) * blockDim.x;
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
