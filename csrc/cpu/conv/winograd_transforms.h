// The transforms of Winograd's F(4×4, 3×3): 4 × 4 outputs of a 3 × 3 filter from a patch of 6 × 6
// inputs by 36 products instead of 144.
//
//   y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A      (g the filter, d the patch, ⊙ element by element)
//
// interpolates at the points 0, ±1, ±2 and infinity. The filter's gradient is the adjoint,
// Gᵀ [(A dy Aᵀ) ⊙ (Bᵀ d B)] G. Each matrix is a `Line` here, applied to the columns and then to the
// rows; lanes are channels. Patches overlap by two pixels: a strip of neighbouring tiles shares the
// columns' half. nhwc reads channels as vectors; nchw transposes squares of lanes pixels × lanes
// channels in registers on the way.
// Source: Lavin & Gray, "Fast algorithms for convolutional neural networks" (2016).
#pragma once

#include "cpu/conv/gemm.h"
#include "cpu/simd_math.h"

namespace cnnkern::cpu::CNNKERN_CPU_ISA {

inline constexpr int winograd_tile = 4, winograd_patch = 6, winograd_positions = 36;
inline constexpr int strip_tiles = 7;  // 30 columns: two squares of 16, four of 8
inline constexpr int strip_cols = strip_tiles * winograd_tile + 2;

// 6 → 6: Bᵀ.
struct InputLine {
  static constexpr int from = 6, to = 6;
  static void apply(const Floats (&d)[6], Floats (&t)[6]) {
    const Floats four = broadcast(-4.0f), five = broadcast(-5.0f), two = broadcast(2.0f);
    const Floats even = fma<float>(four, d[2], d[4]), odd = fma<float>(four, d[1], d[3]);
    const Floats far = d[4] - d[2], near = d[3] - d[1];
    t[0] = fma<float>(five, d[2], fma<float>(-four, d[0], d[4]));
    t[1] = even + odd;
    t[2] = even - odd;
    t[3] = fma<float>(two, near, far);
    t[4] = fma<float>(-two, near, far);
    t[5] = fma<float>(five, d[3], fma<float>(-four, d[1], d[5]));
  }
};

// 3 → 6: G.
struct FilterLine {
  static constexpr int from = 3, to = 6;
  static void apply(const Floats (&g)[3], Floats (&t)[6]) {
    const Floats sum = (g[0] + g[2]) * (-1 / 6.0f), middle = g[1] * (1 / 6.0f);
    const Floats far = fma<float>(g[0], broadcast(1 / 24.0f), g[2] * (1 / 6.0f));
    const Floats near = g[1] * (1 / 12.0f);
    t[0] = g[0] * 0.25f;
    t[1] = sum - middle;
    t[2] = sum + middle;
    t[3] = far + near;
    t[4] = far - near;
    t[5] = g[2];
  }
};

// 6 → 4: Aᵀ.
struct OutputLine {
  static constexpr int from = 6, to = 4;
  static void apply(const Floats (&m)[6], Floats (&y)[4]) {
    const Floats sum = m[1] + m[2], difference = m[1] - m[2];
    const Floats far_sum = m[3] + m[4], far_difference = m[3] - m[4];
    y[0] = m[0] + sum + far_sum;
    y[1] = fma<float>(broadcast(2.0f), far_difference, difference);
    y[2] = fma<float>(broadcast(4.0f), far_sum, sum);
    y[3] = fma<float>(broadcast(8.0f), far_difference, difference + m[5]);
  }
};

// 4 → 6: A, the adjoint of OutputLine.
struct GradientLine {
  static constexpr int from = 4, to = 6;
  static void apply(const Floats (&y)[4], Floats (&t)[6]) {
    const Floats four = broadcast(4.0f);
    const Floats even = y[0] + y[2], odd = y[1] + y[3];
    const Floats far_even = fma<float>(four, y[2], y[0]);
    const Floats far_odd = 2 * fma<float>(four, y[3], y[1]);
    t[0] = y[0];
    t[1] = even + odd;
    t[2] = even - odd;
    t[3] = far_even + far_odd;
    t[4] = far_even - far_odd;
    t[5] = y[3];
  }
};

// 6 → 3: Gᵀ, the adjoint of FilterLine.
struct FilterSumLine {
  static constexpr int from = 6, to = 3;
  static void apply(const Floats (&m)[6], Floats (&g)[3]) {
    const Floats sum = m[1] + m[2], difference = m[2] - m[1];
    const Floats far_sum = m[3] + m[4], far_difference = m[3] - m[4];
    const Floats sixth = broadcast(1 / 6.0f);
    const Floats near = sum * (-1 / 6.0f);
    g[0] = fma<float>(broadcast(1 / 24.0f), far_sum, fma<float>(broadcast(0.25f), m[0], near));
    g[1] = fma<float>(broadcast(1 / 12.0f), far_difference, difference * sixth);
    g[2] = fma<float>(sixth, far_sum, near + m[5]);
  }
};

/// Line · in · Lineᵀ of the square that load(row, column) reads.
template <class Line, class Load>
inline void transform_square(Load&& load, Floats (&out)[Line::to][Line::to]) {
  Floats half[Line::to][Line::from];
#pragma GCC unroll 6
  for (int j = 0; j < Line::from; ++j) {
    Floats column[Line::from], result[Line::to];
#pragma GCC unroll 6
    for (int i = 0; i < Line::from; ++i) column[i] = load(i, j);
    Line::apply(column, result);
#pragma GCC unroll 6
    for (int i = 0; i < Line::to; ++i) half[i][j] = result[i];
  }
#pragma GCC unroll 6
  for (int i = 0; i < Line::to; ++i) Line::apply(half[i], out[i]);
}

/// Neighbouring tiles of one row of tiles.
struct Strip {
  int64_t n, row, col, count;
  int64_t height, last_width;  // outputs of every tile's columns, and of the last tile's rows
  int64_t slot, last_slot;     // of the first tile, the others follow; but the last has its own

  int64_t slot_of(int64_t tile) const { return tile == count - 1 ? last_slot : slot + tile; }
};

struct TileGrid {
  int64_t images, rows, cols, last_height, last_width;

  explicit TileGrid(const Gather& g)
      : images(g.images),
        rows(ceil_div(g.grid.h, winograd_tile)),
        cols(ceil_div(g.grid.w, winograd_tile)),
        last_height(g.grid.h - (rows - 1) * winograd_tile),
        last_width(g.grid.w - (cols - 1) * winograd_tile) {}
  int64_t count() const { return images * rows * cols; }
};

// A tile at the edge of the image has m < 4 outputs a line, and needs m + 2 positions only: the
// last position adds to the fourth output alone, and of the pixels that no wanted output sees,
// which may be anything, extend() makes those that cancel position 4, and for m = 1 also 3.
inline void extend(Floats (&d)[6], int64_t outputs) {
  if (outputs == 2) d[4] = fma<float>(broadcast(2.0f), d[3] - d[1], d[2]);
  if (outputs == 1) d[3] = d[1], d[4] = d[2];
}
inline void extend(Floats (&)[4], int64_t) {}  // a gradient is zero outside

/// The tiles [begin, end) of a grid, in slots such that each position's are neighbours: tiles that
/// are narrow, whole ones, low ones, and those that are both.
class TileBlock {
 public:
  TileBlock(const TileGrid& grid, int64_t begin, int64_t end)
      : grid_(grid), begin_(begin), end_(end) {
    int64_t counts[4] = {};
    walk([&](const Strip& strip, bool low, bool narrow) {
      counts[low ? 2 : 1] += strip.count - narrow;
      counts[low ? 3 : 0] += narrow;
    });
    for (int i = 0; i < 4; ++i) first_[i + 1] = first_[i] + counts[i];
  }

  int64_t tiles() const { return end_ - begin_; }
  /// The slots [first, last) that a position needs.
  int64_t first(int position) const {
    return position % winograd_patch < grid_.last_width + 2 ? 0 : first_[1];
  }
  int64_t last(int position) const {
    if (position / winograd_patch >= grid_.last_height + 2) return first_[2];
    return position % winograd_patch < grid_.last_width + 2 ? first_[4] : first_[3];
  }

  /// body(strip) for strips that cover the tiles.
  template <class Body>
  void for_each_strip(Body&& body) const {
    int64_t next[4] = {first_[0], first_[1], first_[2], first_[3]};
    walk([&](Strip& strip, bool low, bool narrow) {
      int64_t& slot = next[low ? 2 : 1];
      strip.slot = slot;
      slot += strip.count - narrow;
      strip.last_slot = narrow ? next[low ? 3 : 0]++ : slot - 1;
      body(strip);
    });
  }

 private:
  template <class Body>
  void walk(Body&& body) const {
    for (int64_t t = begin_; t < end_;) {
      const int64_t col = t % grid_.cols, row = t / grid_.cols % grid_.rows;
      const int64_t rest = std::min(grid_.cols - col, end_ - t);
      const int64_t count = ceil_div(rest, ceil_div(rest, strip_tiles));
      const int64_t height = row == grid_.rows - 1 ? grid_.last_height : winograd_tile;
      const int64_t width = col + count == grid_.cols ? grid_.last_width : winograd_tile;
      Strip strip{t / grid_.cols / grid_.rows, row, col, count, height, width, 0, 0};
      body(strip, height < winograd_tile, width < winograd_tile);
      t += count;
    }
  }

  TileGrid grid_;
  int64_t begin_, end_, first_[5] = {};
};

// Copies rows × cols pixels from (h, w) on, with zeros outside, as [row][strip_cols][channel];
// channels beyond `channels` are zero.
template <Layout layout>
void read_strip(const Gather& g, const float* source, int64_t channels, int64_t h, int64_t w,
                int rows, int64_t cols, float* to) {
  constexpr int64_t size = lanes<float>;
  const int64_t first = std::clamp<int64_t>(-w, 0, cols);
  const int64_t last = std::clamp<int64_t>(g.extent.w - w, first, cols);
  for (int r = 0; r < rows; ++r, to += strip_cols * size) {
    const bool inside = h + r >= 0 && h + r < g.extent.h;
    const int64_t begin = inside ? first : cols, end = inside ? last : cols;
    __builtin_memset(to, 0, begin * size * sizeof(float));
    __builtin_memset(to + end * size, 0, (cols - end) * size * sizeof(float));
    const int64_t row = (h + r) * g.strides.space.h + w * g.strides.space.w;  // may be outside
    if constexpr (layout == Layout::nhwc) {
      for (int64_t c = begin; c < end; ++c) {
        const float* const pixel = source + row + c * g.strides.space.w;
        store<float>(to + c * size,
                     channels == size ? load<float>(pixel) : load_partial<float>(pixel, channels));
      }
    } else {
      for (int64_t c = begin; c < end; c += size) {
        // The last square may begin anew in the one before.
        const int64_t at = end - begin < size ? c : std::min(c, end - size);
        const int64_t count = std::min(size, end - at);
        Floats square[size];
        for (int64_t i = 0; i < size; ++i) {
          const float* const pixels = source + row + i * g.strides.c + at;
          square[i] = i >= channels   ? Floats{}
                      : count == size ? load<float>(pixels)
                                      : load_partial<float>(pixels, count);
        }
        transpose_square<float>(square);
        for (int64_t i = 0; i < count; ++i) store<float>(to + (at + i) * size, square[i]);
      }
    }
  }
}

/// Transforms up to lanes channels of a strip's patches; position p of the tile in slot t goes to
/// p · position_step + t · tile_step. `source` is the channels' part of the image; `scratch` holds
/// 6 · strip_cols vectors.
template <Layout layout, class Line>
void transform_strip(const Gather& g, const float* source, int64_t channels, const Strip& strip,
                     float* scratch, float* to, int64_t position_step, int64_t tile_step) {
  constexpr int64_t size = lanes<float>;
  const int64_t h = strip.row * winograd_tile + g.lowest.h;
  const int64_t w = strip.col * winograd_tile + g.lowest.w;
  const int64_t cols = strip.count * winograd_tile + Line::from - winograd_tile;
  const float* from = scratch;
  int64_t row_step = strip_cols * size, col_step = size;
  const bool whole = h >= 0 && w >= 0 && h + Line::from <= g.extent.h && w + cols <= g.extent.w;
  if (layout == Layout::nhwc && whole && channels == size) {
    row_step = g.strides.space.h, col_step = g.strides.space.w;
    from = source + h * row_step + w * col_step;
  } else {
    read_strip<layout>(g, source, channels, h, w, Line::from, cols, scratch);
  }
  for (int64_t c = 0; c < cols; ++c) {
    Floats column[Line::from], result[Line::to];
#pragma GCC unroll 6
    for (int r = 0; r < Line::from; ++r)
      column[r] = load<float>(from + r * row_step + c * col_step);
    extend(column, strip.height);
    Line::apply(column, result);
#pragma GCC unroll 6
    for (int r = 0; r < Line::to; ++r)
      store<float>(scratch + (r * strip_cols + c) * size, result[r]);
  }
  for (int64_t t = 0; t < strip.count; ++t) {
    float* const tile = to + strip.slot_of(t) * tile_step;
    const int64_t width = t == strip.count - 1 ? strip.last_width : winograd_tile;
    for (int r = 0; r < Line::to; ++r) {
      Floats row[Line::from], result[Line::to];
#pragma GCC unroll 6
      for (int c = 0; c < Line::from; ++c)
        row[c] = load<float>(scratch + (r * strip_cols + t * winograd_tile + c) * size);
      extend(row, width);
      Line::apply(row, result);
#pragma GCC unroll 6
      for (int c = 0; c < Line::to; ++c)
        store<float>(tile + (r * winograd_patch + c) * position_step, result[c]);
    }
  }
}

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
