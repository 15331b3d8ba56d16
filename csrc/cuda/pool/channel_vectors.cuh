// Several neighbouring channels of a pixel at a time.
//
// Without moving a byte, a channels-last tensor of C channels is one of C / V channels whose
// elements are Vector<T, V>. So a kernel for any shape, written for such elements, is also the
// vectorised one: V = 1 takes both layouts, every C and every size; more finds its way in 32 bits,
// since what a thread computes before its first load costs it as much as many loads.
#pragma once

#include <algorithm>
#include <type_traits>

#include "common/fast_divmod.h"
#include "cuda/indexing.cuh"
#include "cuda/primitives/ldst.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

/// The channels that fill 16 bytes, the widest access.
template <class T>
inline constexpr int wide = 16 / static_cast<int>(sizeof(T));

/// TensorShape of a channels-last tensor whose elements are vectors, fewer than 2^31 of them.
struct VectorShape {
  struct Position {
    int n, c, d, h, w;
  };
  struct Extent {
    int d, h, w;
  };

  int64_t image_stride;
  int pixel_stride;
  Extent extent;
  FastDivmod by_channels, by_d, by_h, by_w;

  VectorShape(Layout, int64_t channels, const Extent3& extent_)
      : image_stride(channels * extent_.volume()),
        pixel_stride(static_cast<int>(channels)),
        extent{static_cast<int>(extent_.d), static_cast<int>(extent_.h),
               static_cast<int>(extent_.w)},
        by_channels(divisor(channels)),
        by_d(divisor(extent_.d)),
        by_h(divisor(extent_.h)),
        by_w(divisor(extent_.w)) {}

  /// Unsigned on the way: a window without a tap inside may begin anywhere.
  __device__ __forceinline__ int offset(unsigned n, unsigned c, unsigned d, unsigned h,
                                        unsigned w) const {
    return static_cast<int>((((n * extent.d + d) * extent.h + h) * extent.w + w) * pixel_stride +
                            c);
  }

  /// The position of the index-th vector in memory.
  __device__ __forceinline__ Position position(int64_t index_) const {
    Position at;
    int index = by_channels.divmod(static_cast<int>(index_), at.c);
    index = by_w.divmod(index, at.w);
    index = by_h.divmod(index, at.h);
    at.n = by_d.divmod(index, at.d);
    return at;
  }

 private:
  static int64_t divisor(int64_t size) { return std::max(size, int64_t{1}); }
};

template <int V>
using ElementShape = std::conditional_t<V == 1, TensorShape, VectorShape>;

template <class T, int V>
__device__ __forceinline__ void add_to(accumulator_t<T> (&sums)[V], const Vector<T, V>& values) {
#pragma unroll
  for (int v = 0; v < V; ++v) sums[v] += static_cast<accumulator_t<T>>(values[v]);
}

template <class T, int V>
__device__ __forceinline__ Vector<T, V> rounded(const accumulator_t<T> (&values)[V]) {
  Vector<T, V> result;
#pragma unroll
  for (int v = 0; v < V; ++v) result[v] = T(values[v]);
  return result;
}

/// Whether vectors of so many bytes may lie there.
inline bool aligned(const void* pointer, size_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
