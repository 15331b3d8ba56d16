// The matrix multiplication under every convolution: C = A · B, BLIS style.
//
// B is packed in panels of tile_cols columns, [depth][tile_cols]. The micro-kernel keeps a tile of
// C in registers (tile_rows × 2 vectors, fewer at the last rows and columns), reads two vectors of
// B and broadcasts a number of A from each of its rows for each step of the depth: A may lie in
// panels [depth][tile_rows] or row by row, in the caller's tensor too. The depth is cut in blocks
// of depth_block so that a panel of B stays in L1 and a block of A in L2; between blocks the tiles
// of C rest in `partial`. Source: Van Zee & van de Geijn, "BLIS: a framework for rapidly
// instantiating BLAS" (2015).
#pragma once

#include <algorithm>
#include <utility>

#include "cpu/conv/epilogue.h"

namespace cnnkern::cpu::CNNKERN_CPU_ISA {

inline constexpr int tile_rows = CNNKERN_TILE_ROWS;
template <class A>
inline constexpr int tile_cols = 2 * lanes<A>;
inline constexpr int64_t depth_block = 256;

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class A>
using Tile = Vec<A>[tile_rows][2];

/// Element (i, k) of tile_rows rows of A lies at i · row + k · depth.
struct Panelled {
  static constexpr int64_t row = 1, depth = tile_rows;
};
/// The rows of a tile must not all begin in the same set of L1, as they would at a power of two.
struct RowByRow {
  static constexpr int64_t row = depth_block + 16, depth = 1;
};
/// As the caller's tensor has it: what is read once or twice is not copied first.
struct InPlace {
  int64_t row;
  static constexpr int64_t depth = 1;
};

/// body(integral_constant<int, n>) for a run-time n in [1, most].
template <int most, class Body>
inline void with_count(int64_t n, Body&& body) {
  if constexpr (most > 1)
    if (n < most) return with_count<most - 1>(n, body);
  body(std::integral_constant<int, most>());
}

/// The products that are added one after the other: of float64 fewer than a block of the depth, as
/// PyTorch's own sums are that short.
template <class A>
inline constexpr int64_t longest_sum = sizeof(A) == 8 ? 64 : depth_block;

template <class Order, int rows, int vectors, class A>
[[gnu::noinline]] void multiply_tile(Order order, int64_t depth, const A* a, const A* b,
                                     Tile<A>& c) {
  for (int64_t begin = 0; begin == 0 || begin < depth; begin += longest_sum<A>) {
    Vec<A> sum[rows][2] = {};
    const int64_t end = std::min(begin + longest_sum<A>, depth);
    for (int64_t k = begin; k < end; ++k, a += Order::depth, b += tile_cols<A>) {
      const Vec<A> b0 = load<A>(b), b1 = vectors > 1 ? load<A>(b + lanes<A>) : b0;
#pragma GCC unroll 16
      for (int i = 0; i < rows; ++i) {
        const Vec<A> ai = broadcast(a[i * order.row]);
        sum[i][0] = fma<A>(ai, b0, sum[i][0]);
        if constexpr (vectors > 1) sum[i][1] = fma<A>(ai, b1, sum[i][1]);
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i)
      for (int v = 0; v < 2; ++v) c[i][v] = begin == 0 ? sum[i][v] : c[i][v] + sum[i][v];
  }
}

/// A block of one operand: panel p begins at data + p · stride.
template <class A>
struct Panels {
  const A* data;
  int64_t stride, count;
};

/// Multiplies one block of the depth. Tiles begin at zero if `first`, else where `partial` left
/// them; if `last` they go to finish(row panel, column panel, tile), announced by prepare(row
/// panel, column panel), else to `partial`, which holds a.count · b.count tiles. The last panels
/// have what is left of `rows` and `cols`.
template <class Order, class A, class Prepare, class Finish>
void multiply(Order order, int64_t depth, const Panels<A>& a, int64_t rows, const Panels<A>& b,
              int64_t cols, A* partial, bool first, bool last, Prepare&& prepare, Finish&& finish) {
  constexpr int64_t tile_size = tile_rows * tile_cols<A>;
  const int64_t l2_panels =
      std::max<int64_t>(1, (192 << 10) / (depth_block * tile_rows * sizeof(A)));
  for (int64_t begin = 0; begin < a.count; begin += l2_panels)
    for (int64_t j = 0; j < b.count; ++j)
      for (int64_t i = begin; i < std::min(begin + l2_panels, a.count); ++i) {
        const int64_t height = std::min<int64_t>(tile_rows, rows - i * tile_rows);
        const bool narrow = cols - j * tile_cols<A> <= lanes<A>;
        const A *const left = a.data + i * a.stride, *const right = b.data + j * b.stride;
        if (last) prepare(i, j);
        Tile<A> tile;
        with_count<tile_rows>(height, [&](auto count) {
          if (narrow) multiply_tile<Order, count, 1>(order, depth, left, right, tile);
          else multiply_tile<Order, count, 2>(order, depth, left, right, tile);
        });
        A* const kept = partial + (j * a.count + i) * tile_size;
        if (!first)
          for (int r = 0; r < height; ++r)
            for (int v = 0; v < 2; ++v)
              tile[r][v] += load<A>(kept + r * tile_cols<A> + v * lanes<A>);
        if (last) finish(i, j, tile);
        else
          for (int r = 0; r < height; ++r)
            for (int v = 0; v < 2; ++v)
              store<A>(kept + r * tile_cols<A> + v * lanes<A>, tile[r][v]);
      }
}

/// Where a tile goes: element (i, j) to row_offset[i] + col_offset[j], through the epilogue.
template <class A, class T>
struct TileOutput {
  Epilogue<A, T> epilogue;
  const int64_t *row_offset, *col_offset;
  int64_t rows, cols;            // that exist
  bool contiguous;               // col_offset counts up by one
  const A *row_bias, *col_bias;  // or null; col_bias is as wide as the tile

  void store_tile(Tile<A>& tile) const {
    const int64_t height = std::min<int64_t>(rows, tile_rows);
    if (contiguous && cols >= tile_cols<A> && epilogue.clamps()) return store_whole(tile, height);
    for (int64_t i = 0; i < height; ++i) {
      for (int v = 0; v < 2; ++v) {
        if (row_bias) tile[i][v] += broadcast(row_bias[i]);
        if (col_bias) tile[i][v] += load<A>(col_bias + v * lanes<A>);
      }
      if (!contiguous) continue;
      const int64_t at = row_offset[i] + col_offset[0];
      if (cols >= tile_cols<A>) {
        epilogue.store(at, tile[i][0]);
        epilogue.store(at + lanes<A>, tile[i][1]);
      } else {
        epilogue.store(at, tile[i][0], std::min<int64_t>(cols, lanes<A>));
        if (cols > lanes<A>) epilogue.store(at + lanes<A>, tile[i][1], cols - lanes<A>);
      }
    }
    if (!contiguous) store_runs(tile, height);
  }

 private:
  // The most frequent case, without a branch an element.
  void store_whole(const Tile<A>& tile, int64_t height) const {
    const Clamp<A> clamp = epilogue.clamp();
    const Vec<A> bias[2] = {col_bias ? load<A>(col_bias) : Vec<A>{},
                            col_bias ? load<A>(col_bias + lanes<A>) : Vec<A>{}};
    T* const dest = epilogue.dest + col_offset[0];
    for (int64_t i = 0; i < height; ++i)
      for (int v = 0; v < 2; ++v) {
        Vec<A> sum = tile[i][v];
        if (row_bias) sum += broadcast(row_bias[i]);
        if (col_bias) sum += bias[v];
        store<A>(dest + row_offset[i] + v * lanes<A>, clamp(sum));
      }
  }

  // Columns at even distances are stored together: pixels of a plane that the tile ends in, or of a
  // parity class.
  [[gnu::noinline]] void store_runs(const Tile<A>& tile, int64_t height) const {
    const int64_t end = std::min<int64_t>(cols, tile_cols<A>);
    int64_t step[tile_cols<A>], length[tile_cols<A>];  // of the run from each column on
    step[end - 1] = length[end - 1] = 1;
    for (int64_t j = end - 2; j >= 0; --j) {
      step[j] = col_offset[j + 1] - col_offset[j];
      length[j] = length[j + 1] == 1 || step[j + 1] == step[j] ? length[j + 1] + 1 : 2;
    }
    for (int64_t i = 0; i < height; ++i) {
      A row[tile_cols<A>];
      store<A>(row, tile[i][0]);
      store<A>(row + lanes<A>, tile[i][1]);
      for (int64_t j = 0; j < end; j += length[j])
        epilogue.store_row(row_offset[i] + col_offset[j], row + j, length[j], step[j]);
    }
  }
};

// One round of the transposition: rows whose numbers differ in the bit `distance` exchange the
// lanes whose numbers differ from theirs in that bit.
template <class A, int distance, size_t... lane>
inline void exchange(Vec<A> (&rows)[lanes<A>], std::index_sequence<lane...>) {
  constexpr int size = lanes<A>;
#pragma GCC unroll 16
  for (int i = 0; i < size; ++i) {
    if (i & distance) continue;
    const Vec<A> upper = rows[i], lower = rows[i + distance];
    rows[i] =
        __builtin_shufflevector(upper, lower, (lane & distance ? size + lane - distance : lane)...);
    rows[i + distance] =
        __builtin_shufflevector(upper, lower, (lane & distance ? size + lane : lane + distance)...);
  }
}

// Transposes a square of lanes × lanes in registers, in log2(lanes) rounds.
template <class A, int distance = lanes<A> / 2>
inline void transpose_square(Vec<A> (&rows)[lanes<A>]) {
  exchange<A, distance>(rows, std::make_index_sequence<lanes<A>>());
  if constexpr (distance > 1) transpose_square<A, distance / 2>(rows);
}

/// to[c · width + r] = from[r · ld + c] for c < cols; zero for rows <= r < width.
template <int width, class A>
void transpose(const A* from, int64_t ld, int64_t rows, int64_t cols, A* to) {
  constexpr int size = lanes<A>;
  for (int64_t c = 0; c < cols; c += size) {
    const int64_t count = std::min<int64_t>(size, cols - c);
#pragma GCC unroll 8
    for (int r = 0; r < width; r += size) {
      Vec<A> square[size];
      for (int i = 0; i < size; ++i) {
        const A* const row = from + (r + i) * ld + c;
        square[i] = r + i >= rows   ? Vec<A>{}
                    : count == size ? load<A>(row)
                                    : load_partial<A>(row, count);
      }
      transpose_square<A>(square);
      constexpr int rest = width % size;
      for (int i = 0; i < count; ++i) {
        A* const column = to + (c + i) * width + r;
        if (rest == 0 || r + size <= width) store<A>(column, square[i]);
        else __builtin_memcpy(column, &square[i], rest * sizeof(A));
      }
    }
  }
}

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
