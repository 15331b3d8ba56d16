// wgrad as a GEMM: filters × (tap, channel), summed over pixels.
//
// Both operands are gathered block by block: the output's gradient [pixel][filter] and the patches
// [pixel][tap, channel]; from nchw, where pixels are neighbours, through a transposition. A task is
// a block of the weight and a chunk of the pixels. Chunks exist where there are too few blocks for
// many threads; how many depends on the problem only, and they are summed in their order, so the
// result does not depend on the threads.
// Memory: the chunks (at most 12 MiB), and per thread at most 1.5 MiB for float.
#pragma once

#include "cpu/conv/gemm.h"
#include "cpu/conv/patches.h"

namespace cnnkern::cpu::CNNKERN_CPU_ISA {

template <class T, Layout layout>
class ReduceGemm {
  using A = accumulator_t<T>;
  static constexpr int cols_width = tile_cols<A>;
  static constexpr int64_t most_rows = 300 / tile_rows, most_cols = 384 / cols_width;  // panels
  static constexpr int64_t least_chunk = 4 * depth_block, most_chunks = 16;
  // Panels do not begin in the same set of L1: a pixel is written to all of them.
  static constexpr int64_t panel_size(int width) { return width * depth_block + 16; }

 public:
  explicit ReduceGemm(const ReduceConv& conv)
      : conv_(conv),
        rows_(conv.gradient.channels),
        cols_(conv.patches.depth()),
        pixels_(conv.patches.pixels()),
        row_panels_(ceil_div(rows_, tile_rows)),
        col_panels_(ceil_div(cols_, cols_width)),
        row_blocks_(ceil_div(row_panels_, most_rows)),
        col_blocks_(ceil_div(col_panels_, most_cols)),
        row_block_(ceil_div(row_panels_, row_blocks_)),
        col_block_(ceil_div(col_panels_, col_blocks_)),
        weights_(conv.groups * conv.weight_group),
        row_offset_(rows_),
        col_offset_(cols_) {
    for (int64_t i = 0; i < rows_; ++i) row_offset_[i] = i * conv.weight_filter;
    for (int64_t j = 0; j < cols_; ++j)
      col_offset_[j] = conv.patches.taps[j / conv.patches.channels].weight +
                       j % conv.patches.channels * conv.weight_channel;
    const int64_t blocks = conv.groups * row_blocks_ * col_blocks_;
    const int64_t wanted = std::min(ceil_div(most_chunks, blocks), ceil_div(pixels_, least_chunk));
    // Even chunks of even blocks, rounded to what nchw packs at a time.
    const int64_t even = std::max<int64_t>(1, ceil_div(pixels_, std::max<int64_t>(wanted, 1)));
    const int64_t pieces = ceil_div(even, depth_block);
    depth_ = ceil_div(ceil_div(even, pieces), cols_width) * cols_width;
    chunk_ = pieces * depth_;
    chunks_ = std::max<int64_t>(1, ceil_div(pixels_, chunk_));
  }

  void run(const ParallelFor& parallel) const {
    auto* const weight = static_cast<T*>(conv_.weight);
    const int64_t blocks = conv_.groups * row_blocks_ * col_blocks_;
    if (chunks_ == 1) return run_tasks(blocks, parallel, [=](int64_t) { return weight; });
    Buffer<A> partial(chunks_ * weights_);
    run_tasks(blocks, parallel, [&](int64_t chunk) { return partial.get() + chunk * weights_; });
    parallel(ceil_div(weights_, sum_block), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * sum_block; i < std::min(end * sum_block, weights_); ++i) {
        A sum = partial[i];
        for (int64_t chunk = 1; chunk < chunks_; ++chunk) sum += partial[chunk * weights_ + i];
        weight[i] = static_cast<T>(sum);
      }
    });
  }

 private:
  static constexpr int64_t sum_block = 1024;

  struct Scratch {
    Buffer<A> gradient, patches, partial, rows;

    Scratch(int64_t rows, int64_t cols)  // panels
        : gradient(rows * panel_size(tile_rows)),
          patches(cols * panel_size(cols_width)),
          partial(rows * tile_rows * cols * cols_width),
          rows(std::max(rows * tile_rows, cols * cols_width) * cols_width) {}
  };

  // to_weight(chunk) says where the sums of a chunk go.
  template <class ToWeight>
  void run_tasks(int64_t blocks, const ParallelFor& parallel, const ToWeight& to_weight) const {
    parallel(blocks * chunks_, [&](int64_t begin, int64_t end) {
      Scratch scratch(row_block_, col_block_);
      for (int64_t task = begin; task < end; ++task) {
        const int64_t block = task / chunks_, chunk = task % chunks_;
        const int64_t group = block / (row_blocks_ * col_blocks_);
        run_block(group, block / col_blocks_ % row_blocks_ * row_block_,
                  block % col_blocks_ * col_block_, chunk, to_weight(chunk), scratch);
      }
    });
  }

  // Rows [first, first + count) of a gather for up to depth_block pixels, as [panel][pixel][width].
  // Returns the depth: the pixels, in nchw rounded up with zeros.
  template <int width>
  int64_t pack(const Gather& gather, int64_t group, int64_t pixel, int64_t pixel_end, int64_t first,
               int64_t count, A* to, A* rows) const {
    const T* const source =
        static_cast<const T*>(gather.source) + group * gather.channels * gather.strides.c;
    PixelCursor cursor(gather, pixel);
    const PixelRows<A> pixel_rows(gather, first, first + count);
    for (int64_t depth = 0;;) {
      const auto pixels =
          static_cast<int>(std::min<int64_t>(cols_width, pixel_end - pixel - depth));
      if (pixels <= 0) return depth;
      if constexpr (layout == Layout::nchw) {
        PixelPanel<A, cols_width> panel(gather, cursor, pixels);
        panel.gather_rows(source, first, first + count, rows);
        for (int64_t i = 0; i < count; i += width)
          transpose<width, A>(rows + i * cols_width, cols_width,
                              std::min<int64_t>(width, count - i), cols_width,
                              to + i / width * panel_size(width) + depth * width);
        depth += cols_width;
      } else {
        // Panel by panel, so that stores follow one another; loads need not.
        const A* row[cols_width];
        const int64_t pitch = ceil_div(count, width) * width;
        for (int i = 0; i < pixels; ++i, cursor.advance())
          row[i] = pixel_rows.find(source, PixelPlace(cursor), rows + i * pitch);
        A* panel = to + depth * width;
        for (int64_t i = 0; i < count; i += width, panel += panel_size(width)) {
          const int64_t exist = std::min<int64_t>(width, count - i);
          if (exist == width)
            for (int j = 0; j < pixels; ++j) copy<A>(row[j] + i, width, panel + j * width);
          else
            for (int j = 0; j < pixels; ++j) {
              copy<A>(row[j] + i, exist, panel + j * width);
              std::fill(panel + j * width + exist, panel + (j + 1) * width, A(0));
            }
        }
        depth += pixels;
      }
    }
  }

  template <class Out>
  void run_block(int64_t group, int64_t row_panel, int64_t col_panel, int64_t chunk, Out* weight,
                 Scratch& scratch) const {
    const int64_t row = row_panel * tile_rows, col = col_panel * cols_width;
    const int64_t rows = std::min(row_block_ * tile_rows, rows_ - row);
    const int64_t cols = std::min(col_block_ * cols_width, cols_ - col);
    const auto finish = [&](int64_t i, int64_t j, Tile<A>& tile) {
      TileOutput<A, Out> output;
      output.epilogue = Epilogue<A, Out>(weight + group * conv_.weight_group);
      output.row_offset = row_offset_.get() + row + i * tile_rows;
      output.col_offset = col_offset_.get() + col + j * cols_width;
      output.rows = rows - i * tile_rows;
      output.cols = cols - j * cols_width;
      // In nchw the weight's order is not the columns' (tap, channel): both ends may fit by chance.
      // (tap, channel) is the order of the weight unless channels lie apart.
      output.contiguous = conv_.weight_channel == 1 || conv_.patches.channels == 1;
      output.row_bias = output.col_bias = nullptr;
      output.store_tile(tile);
    };
    int64_t pixel = chunk * chunk_;
    const int64_t last = std::min(pixel + chunk_, pixels_), start = pixel;
    do {  // at least once: without pixels the gradient is zero
      const int64_t end = std::min(pixel + depth_, last);
      pack<tile_rows>(conv_.gradient, group, pixel, end, row, rows, scratch.gradient.get(),
                      scratch.rows.get());
      const int64_t depth = pack<cols_width>(conv_.patches, group, pixel, end, col, cols,
                                             scratch.patches.get(), scratch.rows.get());
      const Panels<A> a = {scratch.gradient.get(), panel_size(tile_rows),
                           ceil_div(rows, tile_rows)};
      const Panels<A> b = {scratch.patches.get(), panel_size(cols_width),
                           ceil_div(cols, cols_width)};
      multiply(
          Panelled(), depth, a, rows, b, cols, scratch.partial.get(), pixel == start, end == last,
          [](int64_t, int64_t) {}, finish);
      pixel = end;
    } while (pixel < last);
  }

  const ReduceConv& conv_;
  int64_t rows_, cols_, pixels_, row_panels_, col_panels_, row_blocks_, col_blocks_, row_block_,
      col_block_, weights_;
  Buffer<int64_t> row_offset_, col_offset_;
  int64_t depth_, chunk_, chunks_;
};

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
