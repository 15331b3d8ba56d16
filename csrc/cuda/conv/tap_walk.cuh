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

#include "cuda/conv/mma_pipeline.cuh"
#include "cuda/conv/mma_tile.cuh"
#include "cuda/conv/pixel_gather.cuh"

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
  int tile_k, blocks, tail;  // channels in a block; blocks in a tap; channels of the last one
  unsigned all, row_ends, plane_ends;  // taps: each, the last ones of rows, and of planes
  TapStep block, tap, row, plane;

  TapPlan() = default;
  CNNKERN_HOST_DEVICE TapPlan(Index3 taps, const TapAxes& steps, int channels, int tile_k_,
                              TapStep block_)
      : tile_k(tile_k_),
        blocks((channels + tile_k - 1) / tile_k),
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

  /// Channels that there are in this tile; none past the end.
  __device__ __forceinline__ int channels() const {
    if ((tap & plan.all) == 0) return 0;
    return block + 1 == plan.blocks ? plan.tail : plan.tile_k;
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

/// A thread's share of an operand's tile: one chunk of several lines.
template <class Tile_, int threads>
struct ThreadLines {
  using Tile = Tile_;
  static constexpr int apart = threads / Tile::chunks;  // from one of its lines to the next
  static constexpr int count = Tile::lines / apart;
  static_assert(threads % Tile::chunks == 0 && count * apart == Tile::lines);
  static_assert(apart % Tile::same_key == 0, "then all of them have the same key");

  int first = static_cast<int>(threadIdx.x) / Tile::chunks;
  int chunk_in_line = static_cast<int>(threadIdx.x) % Tile::chunks;

  __device__ __forceinline__ int line(int i) const { return first + i * apart; }
  /// The first element of the chunk in its line.
  __device__ __forceinline__ int element() const {
    return chunk_in_line * chunk<typename Tile::Element>;
  }
  /// Where the chunk of the i-th line lies in the tile.
  __device__ __forceinline__ int place(int i) const {
    return Tile::place(first, chunk_in_line) + i * apart * Tile::length;
  }
};

/// The gathered operand: each line a pixel with a pointer and a mask of its own.
template <class Tile, int threads>
class PixelLines : public ThreadLines<Tile, threads> {
  using Lines = ThreadLines<Tile, threads>;

 public:
  /// pixel(line, from, taps) sets the line's first channel at the first tap, and the taps it has.
  template <class Pixel>
  __device__ __forceinline__ explicit PixelLines(const Pixel& pixel) {
#pragma unroll
    for (int i = 0; i < Lines::count; ++i) {
      pixel(this->line(i), from_[i], taps_[i]);
      from_[i] += this->element();
    }
  }

  __device__ __forceinline__ void copy(Tile& tile, unsigned tap) {
#pragma unroll
    for (int i = 0; i < Lines::count; ++i)
      copies_.copy(*this, tile, i, from_[i], (taps_[i] & tap) != 0);
  }
  __device__ __forceinline__ void land(Tile& tile) const { copies_.land(*this, tile); }

  __device__ __forceinline__ void move(int elements) {
#pragma unroll
    for (int i = 0; i < Lines::count; ++i) from_[i] += elements;
  }

 private:
  const typename Tile::Element* from_[Lines::count];
  unsigned taps_[Lines::count];
  ChunkCopies<Lines> copies_;
};

/// The filter: lines at equal distances.
template <class Tile, int threads>
class FilterLines : public ThreadLines<Tile, threads> {
  using Lines = ThreadLines<Tile, threads>;
  using Element = typename Tile::Element;

 public:
  /// from: the tile's first element at the first tap; pitch: from one line to the next.
  __device__ __forceinline__ FilterLines(const Element* from, int pitch)
      : pitch_(pitch), from_(from + int64_t{this->first} * pitch + this->element()) {}

  /// Copies the first `lines` lines, and zeros after them.
  __device__ __forceinline__ void copy(Tile& tile, int lines) {
#pragma unroll
    for (int i = 0; i < Lines::count; ++i)
      copies_.copy(*this, tile, i, from_ + i * Lines::apart * pitch_, this->line(i) < lines);
  }
  __device__ __forceinline__ void land(Tile& tile) const { copies_.land(*this, tile); }

  __device__ __forceinline__ void move(int elements) { from_ += elements; }

 private:
  int pitch_;
  const Element* from_;
  ChunkCopies<Lines> copies_;
};

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
