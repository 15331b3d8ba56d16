// Where an element of a dense N C D H W tensor lies, for either layout, in 64 bits. The kernels
// that take any shape (direct convolution, pooling, bias gradient) walk tensors in memory order
// with these, so that neighbouring threads touch neighbouring addresses in both layouts.
#pragma once

#include "common/conv_problem.h"
#include "common/launch.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

struct Position {
  int64_t n, c, d, h, w;
};

struct TensorShape {
  Layout layout;
  int64_t channels;
  Extent3 extent;

  CNNKERN_HOST_DEVICE int64_t volume() const { return extent.d * extent.h * extent.w; }

  /// Elements between neighbours along c, and between neighbouring pixels.
  CNNKERN_HOST_DEVICE int64_t channel_stride() const {
    return layout == Layout::nhwc ? 1 : volume();
  }
  CNNKERN_HOST_DEVICE int64_t pixel_stride() const { return layout == Layout::nhwc ? channels : 1; }

  CNNKERN_HOST_DEVICE int64_t offset(int64_t n, int64_t c, int64_t d, int64_t h, int64_t w) const {
    return n * channels * volume() + c * channel_stride() +
           ((d * extent.h + h) * extent.w + w) * pixel_stride();
  }

  /// The position of the index-th element in memory.
  CNNKERN_HOST_DEVICE Position position(int64_t index) const {
    Position at;
    if (layout == Layout::nhwc) at.c = split(index, channels);
    at.w = split(index, extent.w);
    at.h = split(index, extent.h);
    at.d = split(index, extent.d);
    if (layout == Layout::nchw) at.c = split(index, channels);
    at.n = index;
    return at;
  }

 private:
  // The remainder; the quotient stays in index.
  CNNKERN_HOST_DEVICE static int64_t split(int64_t& index, int64_t size) {
    const int64_t quotient = index / size, remainder = index - quotient * size;
    index = quotient;
    return remainder;
  }
};

/// This thread's first index of a grid-stride loop over a one-dimensional grid, and its step.
__device__ __forceinline__ int64_t grid_thread() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ __forceinline__ int64_t grid_threads() {
  return static_cast<int64_t>(gridDim.x) * blockDim.x;
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
