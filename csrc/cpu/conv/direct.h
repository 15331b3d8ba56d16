// Direct convolution of nchw planes with few filters or few channels, where packing patches would
// cost more than it saves: the filters slide over a padded copy of a band of an image.
//
// The copy is flat, a PlaneBlock a channel, so that a tap is one offset for every pixel, whatever
// the stride, and a vector of pixels may run on into the next row: what is computed between the
// rows is thrown away. A task is a band of rows; it keeps two vectors of pixels for each filter of
// a panel in registers, adds tap after tap, and stores them where they belong. wgrad turns the
// lanes: it copies the gradient as [pixel][filter], keeps a vector of filters for each of up to 25
// taps, and adds pixel after pixel. It sums images in chunks, whose number depends on the problem
// only.
// Memory: per thread the copies, at most 1 MiB for float (refuse_direct in conv_cpu.cpp).
// Source: direct convolution in the sense of Zhang et al., "High Performance Zero-Memory Overhead
// Direct Convolutions" (2018).
#pragma once

#include "cpu/conv/plane_block.h"

namespace cnnkern::cpu::CNNKERN_CPU_ISA {

/// How the padded copy of one channel lies: everything that a tap reads for any pixel of the grid.
struct PaddedPlane {
  Extent3 extent, lowest;

  explicit PaddedPlane(const Gather& g) : extent(g.grid), lowest(g.lowest) {
    for (int axis = 0; axis < 3; ++axis)
      extent[axis] = g.grid[axis] + g.highest[axis] - g.lowest[axis];
  }
  int64_t at(int64_t d, int64_t h, int64_t w) const { return (d * extent.h + h) * extent.w + w; }
  int64_t offset(const Tap& tap) const {
    return at(tap.d - lowest.d, tap.h - lowest.h, tap.w - lowest.w);
  }
};

/// Copies the channels of one image and group into planes `pitch` elements apart; what surrounds
/// the image must be zero already, and stays so.
template <class A, class T>
void copy_padded(const Gather& g, const PaddedPlane& plane, int64_t n, int64_t group, int64_t pitch,
                 A* to) {
  Extent3 first, last;
  for (int axis = 0; axis < 3; ++axis) {
    first[axis] = std::max<int64_t>(0, g.lowest[axis]);
    last[axis] = std::min(g.extent[axis], g.lowest[axis] + plane.extent[axis]);
  }
  const int64_t width = last.w - first.w;
  if (width <= 0) return;
  for (int64_t c = 0; c < g.channels; ++c, to += pitch)
    for (int64_t d = first.d; d < last.d; ++d)
      for (int64_t h = first.h; h < last.h; ++h)
        copy<A>(static_cast<const T*>(g.source) +
                    g.strides.at(n, group * g.channels + c, d, h, first.w),
                width, to + plane.at(d - g.lowest.d, h - g.lowest.h, first.w - g.lowest.w));
}

/// fprop, and dgrad of stride 1.
template <class T>
class DirectPlanes {
  using A = accumulator_t<T>;
  static constexpr int64_t copied_elements = 24 << 10;  // about as many at a time

 public:
  explicit DirectPlanes(const GatherConv& conv)
      : conv_(conv),
        g_(conv.gather),
        block_(std::span(&g_, 1), copied_elements / std::max<int64_t>(g_.channels, 1),
               std::clamp<int64_t>(copied_elements / 8 / std::max<int64_t>(g_.channels, 1), 256,
                                   1024)),
        plane_pitch_(block_.elements()),
        depth_(g_.depth()),
        panels_(ceil_div(conv.filters, tile_rows)),
        epilogue_(conv),
        offsets_(depth_),
        weights_(conv.groups * conv.filters * depth_),
        bias_(conv.groups * conv.filters) {
    for (int64_t k = 0; k < depth_; ++k)  // tap, channel
      offsets_[k] = k % g_.channels * plane_pitch_ + block_.offset(g_, k / g_.channels);
    for (int64_t m = 0; m < conv.groups * conv.filters; ++m)
      bias_[m] = conv.bias ? static_cast<A>(static_cast<const T*>(conv.bias)[m]) : A(0);
    for (int64_t panel = 0; panel < conv.groups * panels_; ++panel) {
      const int64_t group = panel / panels_, first = first_filter(panel % panels_);
      const int64_t width = first_filter(panel % panels_ + 1) - first;
      A* to = weights_.get() + (group * conv.filters + first) * depth_;
      const T* const from = static_cast<const T*>(conv.weight) + group * conv.weight_group +
                            first * conv.weight_filter;
      for (int64_t t = 0; t < g_.tap_count; ++t)
        for (int64_t c = 0; c < g_.channels; ++c)
          for (int64_t f = 0; f < width; ++f)
            *to++ = static_cast<A>(
                from[f * conv.weight_filter + g_.taps[t].weight + c * conv.weight_channel]);
    }
  }

  void run(const ParallelFor& parallel) const {
    const int64_t bands = ceil_div(g_.grid.h, block_.rows);
    parallel(g_.images * conv_.groups * bands, [&](int64_t begin, int64_t end) {
      Buffer<A> source(g_.channels * plane_pitch_);
      std::fill_n(source.get(), g_.channels * plane_pitch_, A(0));
      for (int64_t task = begin; task < end; ++task) {
        const int64_t image = task / bands, y = task % bands * block_.rows;
        for (int64_t d = 0; d < g_.grid.d; ++d)
          for (int64_t x = 0; x < g_.grid.w; x += block_.cols)
            run_block(image / conv_.groups, image % conv_.groups, d, y, x, source.get());
      }
    });
  }

 private:
  /// A block of outputs of one panel of filters.
  struct Outputs {
    int64_t rows, cols;
    int64_t at, pitch;  // where the first one goes, and from there to the next row
  };
  struct Place {
    int64_t row, col;
  };

  // Panels of filters are as even as can be.
  int64_t first_filter(int64_t panel) const { return panel * conv_.filters / panels_; }

  void run_block(int64_t n, int64_t group, int64_t d, int64_t y, int64_t x, A* source) const {
    for (int64_t c = 0; c < g_.channels; ++c)
      block_.fill(static_cast<const T*>(g_.source) + n * g_.strides.n +
                      (group * g_.channels + c) * g_.strides.c,
                  d, y, x, source + c * plane_pitch_);
    const int64_t rows = std::min(block_.rows, g_.grid.h - y);
    const int64_t cols = std::min(block_.cols, g_.grid.w - x), pitch = block_.pitch();
    // Vectors run on into the next row, unless as few would end with their row.
    const int64_t vectors = ceil_div((rows - 1) * pitch + cols, lanes<A>);
    const bool by_row = cols >= lanes<A> && ceil_div(cols, lanes<A>) * lanes<A> <= pitch;
    for (int64_t panel = 0; panel < panels_; ++panel) {
      const int64_t first = group * conv_.filters + first_filter(panel);
      const int64_t width = first_filter(panel + 1) - first_filter(panel);
      const Outputs to{rows, cols, conv_.dest_strides.at(n, first, d, y, x),
                       conv_.dest_strides.space.h};
      with_count<tile_rows>(width, [&](auto filters) {
        Place at{0, 0};
        if (by_row) {
          for (; at.row < rows; ++at.row)
            for (at.col = 0; at.col < cols;)
              if (at.col + 2 * lanes<A> <= cols) {
                slide<filters, 2>(source, first, to, at);
                at.col += 2 * lanes<A>;
              } else {  // the last vector computes some pixels again
                at.col = std::min(at.col, cols - lanes<A>);
                slide<filters, 1>(source, first, to, at);
                at.col += lanes<A>;
              }
          return;
        }
        int64_t v = 0;
        for (; v + 2 <= vectors; v += 2) {
          slide<filters, 2>(source, first, to, at);
          for (at.col += 2 * lanes<A>; at.col >= pitch; ++at.row) at.col -= pitch;
        }
        if (v < vectors) slide<filters, 1>(source, first, to, at);
      });
    }
  }

  // Output (filter f, pixel j) = bias[f] + Σ over k of weights[k][f] · source[j + offsets[k]], for
  // the pixels of `vectors` vectors.
  template <int filters, int vectors>
  [[gnu::noinline]] void slide(const A* source, int64_t first, const Outputs& to, Place at) const {
    const A* weights = weights_.get() + first * depth_;
    source += at.row * block_.pitch() + at.col;
    T* const dest = epilogue_.dest + to.at + at.row * to.pitch + at.col;
    const int64_t step = conv_.dest_strides.c;
    for (int f = 0; f < filters; ++f)
      for (int v = 0; v < vectors; v += 64 / vector_bytes)
        __builtin_prefetch(dest + f * step + v * lanes<A>, 1);
    Vec<A> sum[filters][vectors];
#pragma GCC unroll 16
    for (int f = 0; f < filters; ++f)
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) sum[f][v] = broadcast(bias_[first + f]);
    const int64_t* offset = offsets_.get();
    for (const int64_t* const end = offset + depth_; offset < end; ++offset, weights += filters) {
      Vec<A> x[vectors];
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) x[v] = load<A>(source + *offset + v * lanes<A>);
#pragma GCC unroll 16
      for (int f = 0; f < filters; ++f) {
        const Vec<A> weight = broadcast(weights[f]);
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) sum[f][v] = fma<A>(weight, x[v], sum[f][v]);
      }
    }
    if (epilogue_.clamps() && at.col + vectors * lanes<A> <= to.cols) {
      const Clamp<A> clamp = epilogue_.clamp();
#pragma GCC unroll 16
      for (int f = 0; f < filters; ++f)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v)
          store<A>(dest + f * step + v * lanes<A>, clamp(sum[f][v]));
      return;
    }
    A spilt[filters][vectors * lanes<A>];
#pragma GCC unroll 16
    for (int f = 0; f < filters; ++f)
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) store<A>(spilt[f] + v * lanes<A>, sum[f][v]);
    store_pieces(spilt[0], filters, vectors * lanes<A>, to, at);
  }

  // `size` pixels of each filter, without what lies between the rows.
  [[gnu::noinline]] void store_pieces(const A* sums, int64_t filters, int64_t size,
                                      const Outputs& to, Place place) const {
    for (int64_t i = 0; i < size && place.row < to.rows; ++place.row, place.col = 0) {
      const int64_t count = std::min(to.cols - place.col, size - i);
      const int64_t at = to.at + place.row * to.pitch + place.col;
      if (count > 0)
        for (int64_t f = 0; f < filters; ++f)
          epilogue_.store_row(at + f * conv_.dest_strides.c, sums + f * size + i, count);
      i += block_.pitch() - place.col;
    }
  }

  const GatherConv& conv_;
  const Gather& g_;
  PlaneBlock<T> block_;
  int64_t plane_pitch_, depth_, panels_;
  Epilogue<A, T> epilogue_;
  Buffer<int64_t> offsets_;
  Buffer<A> weights_, bias_;
};

// Sums that correlate keeps in registers.
inline constexpr int most_sums = vector_bytes == 64 ? 25 : 12, most_run = 5;

/// sums[r][t] += Σ over the grid's pixels of gradient[pixel] · source[pixel + rows[r] + t], a
/// vector of filters at a time. Registers sum longest_sum pixels, so that the rounding of a large
/// plane stays small.
template <class A, int row_count, int run>
void correlate(const Extent3& grid, const PaddedPlane& plane, const A* gradient, int64_t pitch,
               const A* source, const int64_t* rows, A* sums) {
  Vec<A> sum[row_count][run] = {};
  const auto flush = [&] {
#pragma GCC unroll 12
    for (int r = 0; r < row_count; ++r)
#pragma GCC unroll 5
      for (int t = 0; t < run; ++t) {
        A* const to = sums + (r * run + t) * lanes<A>;
        store<A>(to, load<A>(to) + sum[r][t]);
        sum[r][t] = Vec<A>{};
      }
  };
  int64_t left = longest_sum<A>;
  for (int64_t d = 0; d < grid.d; ++d)
    for (int64_t h = 0; h < grid.h; ++h) {
      const A* from[row_count];
      for (int r = 0; r < row_count; ++r) from[r] = source + plane.at(d, h, 0) + rows[r];
      for (int64_t w = 0; w < grid.w;) {
        const int64_t end = std::min(w + left, grid.w);
        left -= end - w;
        for (; w < end; ++w, gradient += pitch) {
          const Vec<A> dy = load<A>(gradient);
#pragma GCC unroll 12
          for (int r = 0; r < row_count; ++r)
#pragma GCC unroll 5
            for (int t = 0; t < run; ++t)
              sum[r][t] = fma<A>(broadcast(from[r][w + t]), dy, sum[r][t]);
        }
        if (left > 0) continue;
        flush();
        left = longest_sum<A>;
      }
    }
  flush();
}

template <class T>
void direct_weights(const ReduceConv& conv, const ParallelFor& parallel) {
  using A = accumulator_t<T>;
  const Gather &x = conv.patches, &y = conv.gradient;
  const PaddedPlane plane(x);
  const int64_t volume = plane.extent.volume(), pixels = x.grid.volume(), filters = y.channels;
  const int64_t vectors = ceil_div(filters, lanes<A>), pitch = vectors * lanes<A>;
  // Taps are read in runs of neighbours; a row is a run of one channel.
  int64_t run = 1;
  while (run < x.tap_count && x.taps[run].w == x.taps[run - 1].w + 1) ++run;
  if (run > most_run || x.tap_count % run != 0) run = 1;
  std::vector<int64_t> rows;
  for (int64_t c = 0; c < x.channels; ++c)
    for (int64_t t = 0; t < x.tap_count; t += run)
      rows.push_back(c * volume + plane.offset(x.taps[t]));
  const auto row_count = static_cast<int64_t>(rows.size());
  const int64_t rows_each = ceil_div(row_count, ceil_div(row_count, most_sums / run));

  constexpr int64_t most_chunks = 16;  // of images
  const int64_t chunk = std::max<int64_t>(1, ceil_div(x.images, most_chunks));
  const int64_t chunks = std::max<int64_t>(1, ceil_div(x.images, chunk));
  const int64_t group_sums = vectors * x.depth() * lanes<A>;  // [vector][channel][tap][lane]
  Buffer<A> sums(chunks * conv.groups * group_sums);
  std::fill_n(sums.get(), chunks * conv.groups * group_sums, A(0));
  parallel(chunks * conv.groups, [&](int64_t task_begin, int64_t task_end) {
    Buffer<A> source(x.channels * volume), gradient(pixels * pitch);
    std::fill_n(source.get(), x.channels * volume, A(0));
    std::fill_n(gradient.get(), pixels * pitch, A(0));
    for (int64_t task = task_begin; task < task_end; ++task) {
      const int64_t group = task % conv.groups, first = task / conv.groups * chunk;
      for (int64_t n = first; n < std::min(first + chunk, x.images); ++n) {
        copy_padded<A, T>(x, plane, n, group, volume, source.get());
        for (int64_t m = 0; m < filters; ++m) {
          const T* const from =
              static_cast<const T*>(y.source) + y.strides.at(n, group * filters + m, 0, 0, 0);
          for (int64_t i = 0; i < pixels; ++i) gradient[i * pitch + m] = static_cast<A>(from[i]);
        }
        A* to = sums.get() + task * group_sums;
        for (int64_t v = 0; v < vectors; ++v)
          for (int64_t r = 0; r < row_count; r += rows_each) {
            const int64_t count = std::min(rows_each, row_count - r);
            with_count<most_run>(run, [&](auto taps) {
              with_count<most_sums / taps>(count, [&](auto at_a_time) {
                correlate<A, at_a_time, taps>(x.grid, plane, gradient.get() + v * lanes<A>, pitch,
                                              source.get(), rows.data() + r, to);
              });
            });
            to += count * run * lanes<A>;
          }
      }
    }
  });
  auto* const weight = static_cast<T*>(conv.weight);
  for (int64_t group = 0; group < conv.groups; ++group)
    for (int64_t m = 0; m < filters; ++m)
      for (int64_t i = 0; i < x.depth(); ++i) {
        const int64_t c = i / x.tap_count, at = (m / lanes<A> * x.depth() + i) * lanes<A>;
        A sum = 0;
        for (int64_t j = 0; j < chunks; ++j)
          sum += sums[(j * conv.groups + group) * group_sums + at + m % lanes<A>];
        weight[group * conv.weight_group + m * conv.weight_filter + c * conv.weight_channel +
               x.taps[i % x.tap_count].weight] = static_cast<T>(sum);
      }
}

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
