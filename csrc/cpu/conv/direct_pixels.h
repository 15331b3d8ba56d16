// Direct forward convolution of nhwc images with few channels, as in first layers, where packing
// patches would cost more than it saves: tiles read a padded copy of a band of rows.
//
// Filters lie in lanes, as a pixel's results lie in memory. A task copies the rows that a band of
// outputs reads, with zeros around the image, so that every pixel reads alike: a row of a filter is
// one run of taps and channels, and the next pixel's begins a stride further on. Registers hold a
// tile of a few pixels and up to four vectors of filters; for each element of the depth the
// weights' vectors are loaded once, and the pixels' elements broadcast from where they lie.
// Memory: a copy of the weights, and per thread the rows, at most 1 MiB for float (refuse_direct in
// conv_cpu.cpp).
// Source: direct convolution in the sense of Zhang et al., "High Performance Zero-Memory Overhead
// Direct Convolutions" (2018).
#pragma once

#include "cpu/conv/gemm.h"
#include "cpu/conv/patches.h"

namespace cnnkern::cpu::CNNKERN_CPU_ISA {

template <class T>
class DirectPixels {
  using A = accumulator_t<T>;
  static constexpr int most_vectors = 4;
  static constexpr int tile_sums = vector_bytes == 64 ? 24 : 12;  // vectors
  static constexpr int64_t copied_elements = 8 << 10, most_cols = 256, wanted_bands = 16;

 public:
  explicit DirectPixels(const GatherConv& conv)
      : conv_(conv),
        g_(conv.gather),
        depth_(g_.depth()),
        vectors_(ceil_div(conv.filters, lanes<A>)),
        panels_(ceil_div(vectors_, most_vectors)),
        cols_(ceil_div(g_.grid.w, ceil_div(g_.grid.w, most_cols))),
        pitch_(reach(2, cols_) * g_.channels),
        epilogue_(conv),
        offsets_(depth_),
        weights_(conv.groups * vectors_ * lanes<A> * depth_),
        bias_(conv.groups * vectors_ * lanes<A>) {
    // Bands are low enough for the cache, and for many threads to have one.
    const int64_t row = std::max<int64_t>(g_.taps_along.d * g_.step.h * pitch_, 1);
    const int64_t images = std::max<int64_t>(g_.images * conv.groups * g_.grid.d, 1);
    rows_ = std::clamp<int64_t>(copied_elements / row - reach(1, 1) / g_.step.h,
                                std::min<int64_t>(g_.grid.h, 4), g_.grid.h);
    rows_ = std::min(rows_, ceil_div(g_.grid.h, ceil_div(wanted_bands, images)));
    layer_ = reach(1, rows_) * pitch_;
    for (int64_t k = 0; k < depth_; ++k) {  // tap, channel
      const int64_t t = k / g_.channels, taps = g_.taps_along.h * g_.taps_along.w;
      offsets_[k] = t / taps * layer_ + (g_.taps[t].h - g_.lowest.h) * pitch_ +
                    (g_.taps[t].w - g_.lowest.w) * g_.channels + k % g_.channels;
    }
    pack_weights();
  }

  void run(const ParallelFor& parallel) const {
    const int64_t bands = ceil_div(g_.grid.h, rows_);
    parallel(g_.images * conv_.groups * g_.grid.d * bands, [&](int64_t begin, int64_t end) {
      Buffer<A> source(g_.taps_along.d * layer_);
      for (int64_t task = begin; task < end; ++task) {
        const int64_t y = task % bands * rows_, d = task / bands % g_.grid.d;
        const int64_t image = task / bands / g_.grid.d;
        for (int64_t x = 0; x < g_.grid.w; x += cols_)
          run_block(image / conv_.groups, image % conv_.groups, d, y, x, source.get());
      }
    });
  }

 private:
  // The source elements along an axis that `count` outputs read.
  int64_t reach(int axis, int64_t count) const {
    return (count - 1) * g_.step[axis] + g_.highest[axis] - g_.lowest[axis] + 1;
  }

  // Panels of vectors are as even as can be.
  int64_t first_vector(int64_t panel) const { return panel * vectors_ / panels_; }

  // As [panel][depth][vectors of the panel]; the lanes beyond the last filter are zero.
  void pack_weights() {
    std::fill_n(weights_.get(), conv_.groups * vectors_ * lanes<A> * depth_, A(0));
    std::fill_n(bias_.get(), conv_.groups * vectors_ * lanes<A>, A(0));
    for (int64_t group = 0; group < conv_.groups; ++group)
      for (int64_t panel = 0; panel < panels_; ++panel) {
        const int64_t first = first_vector(panel) * lanes<A>;
        const int64_t width = first_vector(panel + 1) * lanes<A> - first;
        const int64_t at = group * vectors_ * lanes<A> + first;
        for (int64_t f = 0; f < std::min(width, conv_.filters - first); ++f) {
          const int64_t filter = group * conv_.filters + first + f;
          const T* const from = static_cast<const T*>(conv_.weight) + group * conv_.weight_group +
                                (first + f) * conv_.weight_filter;
          for (int64_t k = 0; k < depth_; ++k)
            weights_[at * depth_ + k * width + f] = static_cast<A>(
                from[g_.taps[k / g_.channels].weight + k % g_.channels * conv_.weight_channel]);
          if (conv_.bias) bias_[at + f] = static_cast<A>(static_cast<const T*>(conv_.bias)[filter]);
        }
      }
  }

  // What `rows` rows of outputs from (d, y, x) on read, zeros outside.
  void fill(const T* image, int64_t d, int64_t y, int64_t x, int64_t rows, A* to) const {
    const int64_t left = x * g_.step.w + g_.lowest.w, top = y * g_.step.h + g_.lowest.h;
    const int64_t width = reach(2, cols_), height = reach(1, rows), channels = g_.channels;
    const int64_t begin = std::clamp<int64_t>(-left, 0, width);
    const int64_t end = std::clamp<int64_t>(g_.extent.w - left, begin, width);
    for (int64_t layer = 0; layer < g_.taps_along.d; ++layer, to += layer_) {
      const int64_t z = d * g_.step.d + g_.taps[layer * g_.taps_along.h * g_.taps_along.w].d;
      for (int64_t row = 0; row < height; ++row) {
        A* const at = to + row * pitch_;
        const int64_t h = top + row;
        if (z < 0 || z >= g_.extent.d || h < 0 || h >= g_.extent.h) {
          std::fill_n(at, pitch_, A(0));
          continue;
        }
        const T* from = image + z * g_.strides.space.d + h * g_.strides.space.h +
                        (left + begin) * g_.strides.space.w;
        std::fill_n(at, begin * channels, A(0));
        if (g_.strides.space.w == channels) {
          copy<A>(from, (end - begin) * channels, at + begin * channels);
        } else {
          for (int64_t w = begin; w < end; ++w, from += g_.strides.space.w)
            copy<A>(from, channels, at + w * channels);
        }
        std::fill_n(at + end * channels, (width - end) * channels, A(0));
      }
    }
  }

  void run_block(int64_t n, int64_t group, int64_t d, int64_t y, int64_t x, A* source) const {
    const int64_t rows = std::min(rows_, g_.grid.h - y), cols = std::min(cols_, g_.grid.w - x);
    fill(static_cast<const T*>(g_.source) + n * g_.strides.n + group * g_.channels * g_.strides.c,
         d, y, x, rows, source);
    for (int64_t panel = 0; panel < panels_; ++panel) {
      const int64_t first = first_vector(panel), next = first_vector(panel + 1);
      with_count<most_vectors>(next - first, [&](auto vectors) {
        constexpr int pixels = tile_sums / vectors;
        for (int64_t row = 0; row < rows; ++row) {
          const A* const from = source + row * g_.step.h * pitch_;
          const int64_t filter = group * conv_.filters + first * lanes<A>;
          const int64_t at = conv_.dest_strides.at(n, filter, d, y + row, x);
          for (int64_t col = 0; col < cols;) {
            if (cols < pixels) {
              tile<1, vectors>(from, col, group, first, at);
              ++col;
            } else {  // the last tile computes some pixels again
              tile<pixels, vectors>(from, std::min(col, cols - pixels), group, first, at);
              col += pixels;
            }
          }
        }
      });
    }
  }

  // Pixels from `col` on of a row that goes to `at`, for the vectors of filters from `first` on.
  template <int pixels, int vectors>
  [[gnu::noinline]] void tile(const A* source, int64_t col, int64_t group, int64_t first,
                              int64_t at) const {
    const int64_t panel = (group * vectors_ + first) * lanes<A>;
    const int64_t step = g_.step.w * g_.channels, dest_step = conv_.dest_strides.space.w;
    const A* weights = weights_.get() + panel * depth_;
    source += col * step;
    at += col * dest_step;
    Vec<A> sum[pixels][vectors];
#pragma GCC unroll 24
    for (int p = 0; p < pixels; ++p)
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sum[p][v] = load<A>(bias_.get() + panel + v * lanes<A>);
    const int64_t* offset = offsets_.get();
    for (const int64_t* const end = offset + depth_; offset < end; ++offset) {
      // The fewer of both kinds of factors stay in registers, of which there are 16.
      if constexpr (pixels < vectors) {
        Vec<A> x[pixels];
#pragma GCC unroll 4
        for (int p = 0; p < pixels; ++p) x[p] = broadcast(source[*offset + p * step]);
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) {
          const Vec<A> weight = load<A>(weights + v * lanes<A>);
#pragma GCC unroll 4
          for (int p = 0; p < pixels; ++p) sum[p][v] = fma<A>(x[p], weight, sum[p][v]);
        }
      } else {
        Vec<A> weight[vectors];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) weight[v] = load<A>(weights + v * lanes<A>);
#pragma GCC unroll 24
        for (int p = 0; p < pixels; ++p) {
          const Vec<A> x = broadcast(source[*offset + p * step]);
#pragma GCC unroll 4
          for (int v = 0; v < vectors; ++v) sum[p][v] = fma<A>(x, weight[v], sum[p][v]);
        }
      }
      weights += vectors * lanes<A>;
    }
    const int64_t filters = conv_.filters - first * lanes<A>;
    if (epilogue_.clamps() && filters >= vectors * lanes<A>) {
      const Clamp<A> clamp = epilogue_.clamp();
      T* dest = epilogue_.dest + at;
#pragma GCC unroll 24
      for (int p = 0; p < pixels; ++p, dest += dest_step)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) store<A>(dest + v * lanes<A>, clamp(sum[p][v]));
      return;
    }
    A spilt[pixels][vectors * lanes<A>];
#pragma GCC unroll 24
    for (int p = 0; p < pixels; ++p)
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) store<A>(spilt[p] + v * lanes<A>, sum[p][v]);
    store_pixels(spilt[0], pixels, vectors * lanes<A>,
                 std::min<int64_t>(filters, vectors * lanes<A>), at);
  }

  // `count` of `pitch` sums of each pixel.
  [[gnu::noinline]] void store_pixels(const A* sums, int pixels, int64_t pitch, int64_t count,
                                      int64_t at) const {
    for (int p = 0; p < pixels; ++p)
      epilogue_.store_row(at + p * conv_.dest_strides.space.w, sums + p * pitch, count);
  }

  const GatherConv& conv_;
  const Gather& g_;
  int64_t depth_, vectors_, panels_, cols_, pitch_;
  int64_t rows_, layer_;  // of a band; elements of one tap's rows along d
  Epilogue<A, T> epilogue_;
  Buffer<int64_t> offsets_;
  Buffer<A> weights_, bias_;
};

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
