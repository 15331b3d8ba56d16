// How a tensor-core kernel walks through the depth of a convolution in channels last: tap by tap,
// and within a tap through blocks of channels, so that a tile is one tap × `tile_k` channels, and
// its rows are runs of memory.
//
// From one tile to the next every row moves by the same distance, in both operands. There are four
// distances, known before the loop: to the next block of channels, tap, row of taps and plane of
// taps; so a row is a pointer that is added to. Where it meets padding is a mask with a bit for
// each tap, made before the loop as well, whence at most 32 taps. The current tap is such a bit:
// rows test it, its place tells which distance comes next, and past the last tap it meets no mask,
// so that what is copied then are zeros.
// Source: the "optimized" iterators of CUTLASS 2's implicit GEMM, with one mask instead of three.
#pragma once

#include "cuda/conv/mma_tile.cuh"
#include "cuda/conv/pixel_gather.cuh"
#include "cuda/primitives/cp_async.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

/// Elements to go on in the pixels (A) and in the filter (B).
struct TapStep {
  int pixels, filter;
};

struct TapAxes {
  TapStep d, h, w;
};

/// The whole walk. `steps` lead from one tap to the next along each axis.
struct TapPlan {
  int blocks, tail;                    // blocks of channels in a tap; channels of the last one
  unsigned all, row_ends, plane_ends;  // taps: each, the last ones of rows, and of planes
  TapStep block, tap, row, plane;

  TapPlan() = default;
  CNNKERN_HOST_DEVICE TapPlan(Index3 taps, const TapAxes& steps, int channels, int tile_k,
                              TapStep block_)
      : blocks((channels + tile_k - 1) / tile_k),
        tail(channels - (blocks - 1) * tile_k),
        all(0),
        row_ends(0),
        plane_ends(0),
        block(block_) {
    int bit = 0;
    for (int d = 0; d < taps.d; ++d)
      for (int h = 0; h < taps.h; ++h)
        for (int w = 0; w < taps.w; ++w, ++bit) {
          const unsigned tap_bit = 1u << bit;
          all |= tap_bit;
          if (w + 1 == taps.w) row_ends |= tap_bit;
          if (w + 1 == taps.w && h + 1 == taps.h) plane_ends |= tap_bit;
        }
    tap = after(steps.w, block, blocks - 1);
    row = after(after(steps.h, steps.w, taps.w - 1), block, blocks - 1);
    plane =
        after(after(after(steps.d, steps.h, taps.h - 1), steps.w, taps.w - 1), block, blocks - 1);
  }

 private:
  /// `step`, once `times` times `back` is taken back.
  CNNKERN_HOST_DEVICE static TapStep after(TapStep step, TapStep back, int times) {
    return {step.pixels - times * back.pixels, step.filter - times * back.filter};
  }
};

/// Where a walk stands; the same for all threads.
struct TapWalk {
  const TapPlan& plan;
  int block = 0;
  unsigned tap = 1;

  /// The current tap, or none if this tile has no such channel; `channel` counts from the tile's
  /// first.
  __device__ __forceinline__ unsigned tap_of(int channel) const {
    return block + 1 == plan.blocks && channel >= plan.tail ? 0 : tap;
  }

  /// Goes on to the next tile and returns the distance to it.
  __device__ __forceinline__ TapStep next() {
    const bool last = ++block == plan.blocks;
    const TapStep over = (tap & plan.plane_ends) ? plan.plane
                         : (tap & plan.row_ends) ? plan.row
                                                 : plan.tap;
    block = last ? 0 : block;
    tap = last ? tap << 1 : tap;
    return last ? over : plan.block;
  }
};

/// The taps of a window that read pixels and not padding. Tap i of an axis reads corner + i · step.
__device__ __forceinline__ unsigned taps_inside(Index3 corner, Index3 taps, Index3 step,
                                                Index3 extent) {
  const auto inside = [](int at, int size) {
    return static_cast<unsigned>(at) < static_cast<unsigned>(size);
  };
  unsigned along_w = 0, mask = 0;
  for (int w = 0; w < taps.w; ++w)
    along_w |= static_cast<unsigned>(inside(corner.w + w * step.w, extent.w)) << w;
  int bit = 0;
  for (int d = 0; d < taps.d; ++d)
    for (int h = 0; h < taps.h; ++h, bit += taps.w)
      if (inside(corner.d + d * step.d, extent.d) && inside(corner.h + h * step.h, extent.h))
        mask |= along_w << bit;
  return mask;
}

/// A thread's share of one operand's tile: its chunk of several lines.
template <class Tile, int threads>
class TapLines {
  static constexpr int apart = threads / Tile::chunks;  // lines between a thread's
  static constexpr int count = Tile::lines / apart;
  static_assert(threads % Tile::chunks == 0 && count * apart == Tile::lines);

 public:
  using Element = std::remove_all_extents_t<decltype(Tile::data)>;

  /// line(i, chunk) gives the address of line i's chunk at the first tap, and the taps it has.
  template <class Line>
  __device__ __forceinline__ explicit TapLines(const Line& line)
      : line_(static_cast<int>(threadIdx.x) / Tile::chunks),
        chunk_(static_cast<int>(threadIdx.x) % Tile::chunks) {
#pragma unroll
    for (int i = 0; i < count; ++i) line(line_ + i * apart, chunk_, from_[i], taps_[i]);
  }

  /// The first channel of this thread's chunk if channels run along the lines.
  __device__ __forceinline__ int channel() const { return chunk_ * chunk; }

#if CNNKERN_ARCH == 0 || CNNKERN_ARCH >= 800
  /// tap(line): the tap that the line is copied for, or none.
  template <class Tap>
  __device__ __forceinline__ void copy(Tile& tile, const Tap& tap) const {
    const int place = Tile::place(line_, chunk_);  // lines `apart` have the same key
    static_assert(apart % 8 == 0);
#pragma unroll
    for (int i = 0; i < count; ++i)
      cp_async_16(tile.data + place + i * apart * Tile::length, from_[i],
                  (taps_[i] & tap(line_ + i * apart)) != 0);
  }
#endif

  __device__ __forceinline__ void move(int elements) {
#pragma unroll
    for (int i = 0; i < count; ++i) from_[i] += elements;
  }

 private:
  int line_, chunk_;
  const Element* from_[count];
  unsigned taps_[count];
};

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
