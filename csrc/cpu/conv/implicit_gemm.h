// fprop and dgrad as an implicit GEMM: pixels × filters, summed over taps and channels.
//
// nchw: rows are filters and columns pixels, so that a tile is stored along w; nhwc: rows are
// pixels and columns filters, so that it is stored along the channels. The weights are packed once
// a call, or once for all calls (`pack`), in panels of all their depth; patches are packed by the
// task that multiplies them, a block of pixels × depth_block at a time; those of a 1×1 convolution
// in nhwc are rows of the tensor already, and are read there. A task is a block of pixels and of
// filters.
// Memory: a copy of the weights, and per thread at most pixel_block · (depth_block + 528) numbers
// of the arithmetic type (0.6 MiB for float).
// Source: implicit GEMM (Chetlur et al., cuDNN, 2014) over the BLIS blocking of gemm.h.
#pragma once

#include "cpu/conv/gemm.h"
#include "cpu/conv/patches.h"

namespace cnnkern::cpu::CNNKERN_CPU_ISA {

inline constexpr int64_t pixel_block = 192, filter_block = 512, wanted_tasks = 16;

template <class T, Layout layout>
class ImplicitGemm {
  using A = accumulator_t<T>;
  static constexpr bool nchw = layout == Layout::nchw;
  static constexpr int pixel_width = nchw ? tile_cols<A> : tile_rows;
  static constexpr int filter_width = nchw ? tile_rows : tile_cols<A>;
  // In nhwc a pixel's patch is a row of memory, and so it stays: RowByRow.
  using RowOrder = std::conditional_t<nchw, Panelled, RowByRow>;
  static constexpr int64_t pixel_size = nchw ? depth_block : RowByRow::row;
  static constexpr bool has_rows = !nchw && std::is_same_v<T, A>;  // of numbers as multiplied

 public:
  explicit ImplicitGemm(const GatherConv& conv)
      : conv_(conv),
        gather_(conv.gather),
        depth_(gather_.depth()),
        in_place_(has_rows && gather_.pointwise()),
        filter_panels_(ceil_div(conv.filters, filter_width)),
        own_weights_(conv.packed ? 0 : packed_size(conv)),
        weights_(conv.packed ? static_cast<const A*>(conv.packed) : own_weights_.get()),
        bias_(conv.groups * filter_panels_ * filter_width),
        filter_offset_(filter_panels_ * filter_width) {
    for (int64_t m = 0; m < filter_panels_ * filter_width; ++m)
      filter_offset_[m] = m * conv.dest_strides.c;
    const auto* bias = static_cast<const T*>(conv.bias);
    for (int64_t panel = 0; panel < conv.groups * filter_panels_; ++panel)
      for (int64_t i = 0; i < filter_width; ++i) {
        const int64_t group = panel / filter_panels_;
        const int64_t m = panel % filter_panels_ * filter_width + i;
        const bool exists = bias && m < conv.filters;
        bias_[panel * filter_width + i] =
            exists ? static_cast<A>(bias[group * conv.filters + m]) : A(0);
      }
  }

  /// Of type A, the weights of all groups.
  static int64_t packed_size(const GatherConv& conv) {
    return conv.groups * ceil_div(conv.filters, filter_width) * filter_width * conv.gather.depth();
  }

  void pack(A* to, const ParallelFor& parallel) const {
    parallel(conv_.groups * filter_panels_, [&](int64_t begin, int64_t end) {
      Buffer<A> rows(filter_width * depth_block);
      for (int64_t panel = begin; panel < end; ++panel)
        pack_panel(panel, rows.get(), to + panel * filter_width * depth_);
    });
  }

  void run(const ParallelFor& parallel) const {
    if (!conv_.packed) pack(own_weights_.get(), parallel);
    // Blocks shrink until there are enough tasks, pixels first: filters share packed patches.
    const int64_t pixels = gather_.pixels();
    if (pixels == 0) return;
    const auto blocks = [&](int64_t size, int64_t block) { return ceil_div(size, block); };
    int64_t pixels_each = std::min(pixel_block / pixel_width, blocks(pixels, pixel_width));
    int64_t panels_each = std::min(filter_block / filter_width, filter_panels_);
    const auto tasks = [&] {
      return conv_.groups * blocks(pixels, pixels_each * pixel_width) *
             blocks(filter_panels_, panels_each);
    };
    while (tasks() < wanted_tasks && pixels_each * pixel_width > 48)
      pixels_each = ceil_div(pixels_each, 2);
    while (tasks() < wanted_tasks && panels_each * filter_width > 64)
      panels_each = ceil_div(panels_each, 2);
    const auto even = [&](int64_t all, int64_t block) { return ceil_div(all, blocks(all, block)); };
    pixels_each = even(blocks(pixels, pixel_width), pixels_each);
    panels_each = even(filter_panels_, panels_each);
    const int64_t filter_blocks = blocks(filter_panels_, panels_each);
    const int64_t per_group = blocks(pixels, pixels_each * pixel_width) * filter_blocks;
    parallel(tasks(), [&](int64_t begin, int64_t end) {
      Scratch scratch(pixels_each * pixel_width, panels_each * filter_width, in_place_);
      for (int64_t task = begin; task < end; ++task) {
        const int64_t in_group = task % per_group;
        const int64_t pixel = in_group / filter_blocks * pixels_each * pixel_width;
        const int64_t panel = in_group % filter_blocks * panels_each;
        run_block(task / per_group, pixel, std::min(pixels, pixel + pixels_each * pixel_width),
                  panel, std::min(filter_panels_, panel + panels_each), scratch);
      }
    });
  }

 private:
  struct Scratch {
    Buffer<A> patches, partial;
    Buffer<int64_t> pixel_offset;

    Scratch(int64_t pixels, int64_t filters, bool in_place)
        : patches(in_place ? 0 : pixels * pixel_size),
          partial(pixels * filters),
          pixel_offset(pixels) {}
  };

  // A filter's elements are brought in a row in the order of the depth, then the rows transposed.
  void pack_panel(int64_t panel, A* rows, A* to) const {
    const int64_t first = panel % filter_panels_ * filter_width;
    const int64_t count = std::min<int64_t>(filter_width, conv_.filters - first);
    const T* const from = static_cast<const T*>(conv_.weight) +
                          panel / filter_panels_ * conv_.weight_group + first * conv_.weight_filter;
    if (conv_.weight_filter == 1) {  // filters are neighbours
      for (int64_t t = 0; t < gather_.tap_count; ++t)
        for (int64_t c = 0; c < gather_.channels; ++c, to += filter_width) {
          copy<A>(from + gather_.taps[t].weight + c * conv_.weight_channel, count, to);
          std::fill(to + count, to + filter_width, A(0));
        }
      return;
    }
    for (int64_t begin = 0; begin < depth_;
         begin += depth_block, to += filter_width * depth_block) {
      const int64_t depth = std::min(depth_block, depth_ - begin);
      for (int64_t i = 0; i < count; ++i)
        gather_filter(from + i * conv_.weight_filter, begin, depth, rows + i * depth_block);
      transpose<filter_width, A>(rows, depth_block, count, depth, to);
    }
  }

  // Elements [begin, begin + count) of a filter, ordered by tap, then channel.
  void gather_filter(const T* filter, int64_t begin, int64_t count, A* to) const {
    for (int64_t end = begin + count; begin < end;) {
      const int64_t c = begin % gather_.channels;
      const int64_t channels = std::min(gather_.channels - c, end - begin);
      const T* const from =
          filter + gather_.taps[begin / gather_.channels].weight + c * conv_.weight_channel;
      if (conv_.weight_channel == 1) copy<A>(from, channels, to);
      else
        for (int64_t i = 0; i < channels; ++i)
          to[i] = static_cast<A>(from[i * conv_.weight_channel]);
      begin += channels;
      to += channels;
    }
  }

  // Depth [begin, end) of the pixels, in panels; the lanes beyond the last pixel are zero.
  void pack_patches(int64_t group, int64_t first_pixel, int64_t last_pixel, int64_t begin,
                    int64_t end, Scratch& scratch) const {
    const T* const source =
        static_cast<const T*>(gather_.source) + group * gather_.channels * gather_.strides.c;
    A* to = scratch.patches.get();
    if constexpr (nchw) {
      PixelCursor cursor(gather_, first_pixel);
      for (int64_t pixel = first_pixel; pixel < last_pixel; pixel += pixel_width) {
        const auto count = static_cast<int>(std::min<int64_t>(pixel_width, last_pixel - pixel));
        PixelPanel<A, pixel_width> panel(gather_, cursor, count);
        panel.gather_rows(source, begin, end, to);
        to += pixel_width * pixel_size;
      }
    } else {
      const PixelRows<A> rows(gather_, begin, end);
      for_each_run(gather_, first_pixel, last_pixel, [&](const PixelCursor& first, int64_t count) {
        PixelPlace pixel(first);
        for (int64_t i = 0; i < count; ++i, pixel.advance(), to += pixel_size)
          rows.gather_pixel(source, pixel, to);
      });
    }
  }

  void run_block(int64_t group, int64_t first_pixel, int64_t last_pixel, int64_t first_panel,
                 int64_t last_panel, Scratch& scratch) const {
    const int64_t pixels = last_pixel - first_pixel;
    const Strides& dest = conv_.dest_strides;
    int64_t* offset = scratch.pixel_offset.get();
    for_each_run(gather_, first_pixel, last_pixel, [&](const PixelCursor& first, int64_t count) {
      const int64_t begin = dest.at(first.n, 0, first.d, first.h, first.w);
      for (int64_t i = 0; i < count; ++i) *offset++ = begin + i * dest.space.w;
    });

    const A* const bias =
        conv_.bias ? bias_.get() + group * filter_panels_ * filter_width : nullptr;
    const Epilogue<A, T> epilogue(conv_, group * conv_.filters * conv_.dest_strides.c);
    const auto finish = [&](int64_t i, int64_t j, Tile<A>& tile) {
      const int64_t pixel = (nchw ? j : i) * pixel_width;
      const int64_t filter = (first_panel + (nchw ? i : j)) * filter_width;
      const int64_t* const pixel_offset = scratch.pixel_offset.get() + pixel;
      const int64_t* const filter_offset = filter_offset_.get() + filter;
      TileOutput<A, T> output;
      output.epilogue = epilogue;
      output.row_offset = nchw ? filter_offset : pixel_offset;
      output.col_offset = nchw ? pixel_offset : filter_offset;
      output.rows = nchw ? conv_.filters - filter : pixels - pixel;
      output.cols = nchw ? pixels - pixel : conv_.filters - filter;
      const int64_t last = std::min<int64_t>(output.cols, pixel_width) - 1;
      output.contiguous =
          !nchw || (dest.space.w == 1 && pixel_offset[last] == pixel_offset[0] + last);
      output.row_bias = nchw && bias ? bias + filter : nullptr;
      output.col_bias = !nchw && bias ? bias + filter : nullptr;
      output.store_tile(tile);
    };

    // The lines that a tile goes to are fetched while it is multiplied.
    const auto prepare = [&](int64_t i, int64_t j) {
      const int64_t pixel = (nchw ? j : i) * pixel_width;
      const int64_t filter = (first_panel + (nchw ? i : j)) * filter_width;
      const int64_t* const pixel_offset = scratch.pixel_offset.get() + pixel;
      const int64_t* const filter_offset = filter_offset_.get() + filter;
      const int64_t* const row = nchw ? filter_offset : pixel_offset;
      const T* const dest = epilogue.dest + (nchw ? pixel_offset[0] : filter_offset[0]);
      const int64_t count =
          std::min<int64_t>(tile_rows, nchw ? conv_.filters - filter : pixels - pixel);
      for (int64_t r = 0; r < count; ++r)
        for (int64_t at = 0; at < tile_cols<A>; at += 64 / static_cast<int64_t>(sizeof(T)))
          __builtin_prefetch(dest + row[r] + at, 1);
    };
    int64_t begin = 0;
    do {  // at least once: without taps the output is the bias
      const int64_t end = std::min(begin + depth_block, depth_);
      const Panels<A> weights = {
          weights_ + ((group * filter_panels_ + first_panel) * depth_ + begin) * filter_width,
          filter_width * depth_, last_panel - first_panel};
      const auto multiply_by = [&](auto order, const A* data, int64_t stride) {
        const Panels<A> patches = {data, stride, ceil_div(pixels, pixel_width)};
        multiply(order, end - begin, nchw ? weights : patches,
                 nchw ? conv_.filters - first_panel * filter_width : pixels,
                 nchw ? patches : weights,
                 nchw ? pixels : conv_.filters - first_panel * filter_width, scratch.partial.get(),
                 begin == 0, end == depth_, prepare, finish);
      };
      if constexpr (has_rows) {
        const int64_t row = gather_.strides.space.w;
        const A* const source = static_cast<const A*>(gather_.source) + group * gather_.channels;
        if (in_place_)
          multiply_by(InPlace{row}, source + first_pixel * row + begin, pixel_width * row);
      }
      if (!in_place_) {
        pack_patches(group, first_pixel, last_pixel, begin, end, scratch);
        multiply_by(RowOrder(), scratch.patches.get(), pixel_width * pixel_size);
      }
      begin = end;
    } while (begin < depth_);
  }

  const GatherConv& conv_;
  const Gather& gather_;
  int64_t depth_;
  bool in_place_;  // the patches are not packed
  int64_t filter_panels_;
  Buffer<A> own_weights_;
  const A* weights_;
  Buffer<A> bias_;
  Buffer<int64_t> filter_offset_;
};

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
