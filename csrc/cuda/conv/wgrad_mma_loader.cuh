// The operands of the tensor-core weight gradient, on their way into shared memory.
//
// Both tensors lie in channels last, so that along the GEMM's depth, the output's pixels, neither
// is contiguous: a tile is `depth` rows of m (or n) channels, in chunks of 16 bytes. A thread
// copies the same chunk of every step-th row for the whole loop, so its filter, or its tap and
// channel, are found once; from one row to the next it moves `step` pixels on. The output's
// gradient is dense: that is one addition. In the input, the window's position is a number with
// the digits (image, z, p, q), and its offset and coordinates are kept instead of it: they are
// added to, and corrected where a digit overflows. No division in the loop.
#pragma once

#include "cuda/conv/mma_pipeline.cuh"
#include "cuda/conv/mma_tile.cuh"
#include "cuda/conv/pixel_gather.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

/// Which chunks of a tile one of `threads` copies: chunk `at` of the rows `row`, `row` + step, …
template <class Tile_, int threads>
struct ChunkRows {
  using Tile = Tile_;
  static constexpr int step = threads / Tile::chunks, count = Tile::lines / step;
  static_assert(count * step == Tile::lines && step * Tile::chunks == threads);
  static_assert(step % Tile::same_key == 0, "all of a thread's copies have the same key");

  int row, at, first;

  __device__ __forceinline__ ChunkRows()
      : row(static_cast<int>(threadIdx.x) / Tile::chunks),
        at(static_cast<int>(threadIdx.x) % Tile::chunks),
        first(Tile::place(row, at)) {}

  /// Where the j-th copy goes.
  __device__ __forceinline__ int place(int j) const { return first + j * step * Tile::length; }
};

/// The output's gradient: rows are pixels, columns the filters of a group.
template <class Element, class Rows>
class GradientLoader {
  using Tile = typename Rows::Tile;

 public:
  /// `pixels` are the `count` that this block adds up.
  __device__ __forceinline__ GradientLoader(const Element* first_pixel, int64_t channels,
                                            int first_k, int k_per_group, int count)
      : step_(Rows::step * channels) {
    const int k = first_k + rows_.at * chunk<Element>;
    at_ = first_pixel + rows_.row * channels + k;
    left_ = k < k_per_group ? count - rows_.row : 0;
  }

  /// Starts copying the next tile; past the last pixel it is zeros.
  __device__ __forceinline__ void copy(Tile& tile) {
#pragma unroll
    for (int j = 0; j < Rows::count; ++j) {
      copies_.copy(rows_, tile, j, at_, left_ > j * Rows::step);
      at_ += step_;
    }
    left_ -= Rows::count * Rows::step;
  }
  __device__ __forceinline__ void land(Tile& tile) const { copies_.land(rows_, tile); }

 private:
  Rows rows_;
  ChunkCopies<Rows> copies_;
  const Element* at_;
  int64_t step_;
  int left_;  // pixels from this thread's first row of the tile on
};

/// What moves a window `pixels` output pixels on; made on the host. With dims = 2 there is only one
/// plane, and the row that follows an image's last is the next image's first.
template <int dims>
struct WindowSteps {
  static constexpr int first_axis = 3 - dims;

  int step[3], wrap[3], stride[3];  // coordinates
  int offset, carry_offset[3];      // elements

  WindowSteps(const ConvProblem& p, int64_t pixels) {
    int64_t size[3];  // of what follows along an axis: a pixel, a row, a plane
    const int64_t image = p.c * p.input.volume();
    size[2] = p.c, size[1] = p.input.w * size[2], size[0] = p.input.h * size[1];
    int64_t total = 0;
    for (int axis = 2; axis >= first_axis; --axis) {
      const int64_t outputs = p.output[axis], pace = p.stride[axis];
      step[axis] = static_cast<int>(pixels % outputs * pace);
      wrap[axis] = static_cast<int>(outputs * pace);
      stride[axis] = static_cast<int>(pace);
      total += step[axis] * size[axis];
      const int64_t next = axis > first_axis ? p.stride[axis - 1] * size[axis - 1] : image;
      carry_offset[axis] = static_cast<int>(next - wrap[axis] * size[axis]);
      pixels /= outputs;
    }
    offset = static_cast<int>(total + pixels * image);
  }
};

/// The input seen through the filter: rows are output pixels, columns the (tap, channel) of a
/// group.
template <class Element, class Rows, int dims>
class WindowLoader {
  using Steps = WindowSteps<dims>;
  using Tile = typename Rows::Tile;

 public:
  /// `pixels` from `first_pixel` on are the `count` that this block adds up.
  __device__ __forceinline__ WindowLoader(const InputWindows<Layout::nhwc>& windows,
                                          const Steps& steps, const Element* group,
                                          int first_column, int first_pixel, int count)
      : extent_{windows.source.extent.d, windows.source.extent.h, windows.source.extent.w},
        steps_(steps) {
    const int column = first_column + rows_.at * chunk<Element>;
    const GatherPoint tap = windows.tap(column);
    const GatherPoint pixel = windows.pixel(first_pixel + rows_.row);
    from_ = group + pixel.offset + tap.offset;
    const int pixel_at[3] = {pixel.d, pixel.h, pixel.w}, tap_at[3] = {tap.d, tap.h, tap.w};
    const int pad[3] = {windows.pad.d, windows.pad.h, windows.pad.w};
#pragma unroll
    for (int axis = Steps::first_axis; axis < 3; ++axis) {
      at_[axis] = pixel_at[axis] + tap_at[axis];
      limit_[axis] = steps.wrap[axis] + tap_at[axis] - pad[axis];
    }
    left_ = column < windows.elements ? count - rows_.row : 0;
  }

  /// Starts copying the next tile; padding, and what lies past the last pixel, is zeros.
  __device__ __forceinline__ void copy(Tile& tile) {
#pragma unroll
    for (int j = 0; j < Rows::count; ++j) {
      bool valid = left_ > j * Rows::step;
#pragma unroll
      for (int axis = Steps::first_axis; axis < 3; ++axis)
        valid = valid && static_cast<unsigned>(at_[axis]) < static_cast<unsigned>(extent_[axis]);
      copies_.copy(rows_, tile, j, from_, valid);
      advance();
    }
    left_ -= Rows::count * Rows::step;
  }
  __device__ __forceinline__ void land(Tile& tile) const { copies_.land(rows_, tile); }

 private:
  __device__ __forceinline__ void advance() {
    int offset = steps_.offset;
#pragma unroll
    for (int axis = 2; axis >= Steps::first_axis; --axis) {
      at_[axis] += steps_.step[axis];
      if (at_[axis] >= limit_[axis]) {
        at_[axis] -= steps_.wrap[axis];
        offset += steps_.carry_offset[axis];
        if (axis > Steps::first_axis) at_[axis - 1] += steps_.stride[axis - 1];
      }
    }
    from_ += offset;
  }

  Rows rows_;
  ChunkCopies<Rows> copies_;
  int extent_[3];
  const Steps& steps_;
  const Element* from_;  // read only where the coordinates lie inside the image
  int at_[3];            // the window's coordinates, moved by the tap
  int limit_[3];         // where those of the next row, plane and image begin
  int left_;
};

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
