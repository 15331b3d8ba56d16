// Direct convolution of nchw planes with few filters, where packing patches would cost more than it
// saves: the filters slide by one over a padded copy of an image.
//
// The copy is flat, one plane a channel, with the pitch of the padded rows, so that a tap is one
// offset for every pixel and a vector of pixels may run on into the next row: what is computed
// between the rows is thrown away. A task is an image; it keeps a vector or two of pixels for each
// filter of a block in registers and adds tap after tap. wgrad turns the lanes: it copies the
// gradient as [pixel][filter], keeps a vector of filters for each of up to 25 taps, and adds pixel
// after pixel. It sums images in chunks, whose number depends on the problem only.
// Memory: per thread the copies, at most 1 MiB for float (refuse_direct in conv_cpu.cpp).
// Source: direct convolution in the sense of Zhang et al., "High Performance Zero-Memory Overhead
// Direct Convolutions" (2018).
#pragma once

#include "cpu/conv/gemm.h"
#include "cpu/conv/patches.h"

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
  /// From the first pixel of the grid to the last, the gaps between its rows included.
  int64_t positions(const Extent3& grid) const {
    return at(grid.d - 1, grid.h - 1, grid.w - 1) + 1;
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

/// to[f · pitch + j] = bias[f] + Σ over k of weights[k][f] · source[j + offsets[k]], for the pixels
/// j of `vectors` vectors.
template <class A, int filters, int vectors>
void slide(const A* source, const int64_t* offsets, int64_t depth, const A* weights, const A* bias,
           A* to, int64_t pitch) {
  Vec<A> sum[filters][vectors];
  for (int f = 0; f < filters; ++f)
    for (int v = 0; v < vectors; ++v) sum[f][v] = broadcast(bias[f]);
  for (int64_t k = 0; k < depth; ++k, weights += filters) {
    Vec<A> x[vectors];
    for (int v = 0; v < vectors; ++v) x[v] = load<A>(source + offsets[k] + v * lanes<A>);
#pragma GCC unroll 16
    for (int f = 0; f < filters; ++f) {
      const Vec<A> weight = broadcast(weights[f]);
      for (int v = 0; v < vectors; ++v) sum[f][v] = fma<A>(weight, x[v], sum[f][v]);
    }
  }
  for (int f = 0; f < filters; ++f)
    for (int v = 0; v < vectors; ++v) store<A>(to + f * pitch + v * lanes<A>, sum[f][v]);
}

template <class T>
void direct_planes(const GatherConv& conv, const ParallelFor& parallel) {
  using A = accumulator_t<T>;
  const Gather& g = conv.gather;
  const PaddedPlane plane(g);
  const int64_t vectors = ceil_div(plane.positions(g.grid), lanes<A>), pitch = vectors * lanes<A>;
  const int64_t depth = g.depth(), plane_pitch = plane.extent.volume();
  const int64_t blocks = ceil_div(conv.filters, tile_rows), width = ceil_div(conv.filters, blocks);

  std::vector<int64_t> offsets;  // in the order of the packed weights: tap, channel
  for (int64_t t = 0; t < g.tap_count; ++t)
    for (int64_t c = 0; c < g.channels; ++c)
      offsets.push_back(c * plane_pitch + plane.offset(g.taps[t]));
  Buffer<A> weights(conv.groups * blocks * width * depth), bias(conv.groups * blocks * width);
  for (int64_t i = 0; i < conv.groups * blocks * width; ++i) {
    const int64_t group = i / (blocks * width), m = i % (blocks * width), f = i % width;
    const bool exists = m < conv.filters;
    const T* const from = static_cast<const T*>(conv.weight) + group * conv.weight_group +
                          (exists ? m : 0) * conv.weight_filter;
    A* to = weights.get() + (i - f) * depth + f;
    for (int64_t t = 0; t < g.tap_count; ++t)
      for (int64_t c = 0; c < g.channels; ++c, to += width)
        *to = exists ? static_cast<A>(from[g.taps[t].weight + c * conv.weight_channel]) : A(0);
    bias[i] = conv.bias && exists
                  ? static_cast<A>(static_cast<const T*>(conv.bias)[group * conv.filters + m])
                  : A(0);
  }

  const Epilogue<A, T> epilogue(conv);
  parallel(g.images * conv.groups, [&](int64_t task_begin, int64_t task_end) {
    Buffer<A> source(g.channels * plane_pitch + lanes<A>), sums(width * pitch);
    std::fill_n(source.get(), g.channels * plane_pitch + lanes<A>, A(0));
    for (int64_t task = task_begin; task < task_end; ++task) {
      const int64_t n = task / conv.groups, group = task % conv.groups;
      copy_padded<A, T>(g, plane, n, group, plane_pitch, source.get());
      for (int64_t block = 0; block < blocks; ++block) {
        const int64_t packed = (group * blocks + block) * width;
        with_count<tile_rows>(width, [&](auto filters) {
          const auto run = [&](auto count, int64_t at) {
            slide<A, filters, count>(source.get() + at, offsets.data(), depth,
                                     weights.get() + packed * depth, bias.get() + packed,
                                     sums.get() + at, pitch);
          };
          for (int64_t v = 0; v + 2 <= vectors; v += 2)
            run(std::integral_constant<int, 2>(), v * lanes<A>);
          if (vectors % 2) run(std::integral_constant<int, 1>(), (vectors - 1) * lanes<A>);
        });
        for (int64_t m = block * width; m < std::min((block + 1) * width, conv.filters); ++m)
          for (int64_t d = 0; d < g.grid.d; ++d)
            for (int64_t h = 0; h < g.grid.h; ++h) {
              const A* const from = sums.get() + (m - block * width) * pitch + plane.at(d, h, 0);
              epilogue.store_row(conv.dest_strides.at(n, group * conv.filters + m, d, h, 0), from,
                                 g.grid.w);
            }
      }
    }
  });
}

// Sums that correlate keeps in registers.
inline constexpr int most_sums = vector_bytes == 64 ? 25 : 12, most_run = 5;

/// sums[r][t] += Σ over the grid's pixels of gradient[pixel] · source[pixel + rows[r] + t], a
/// vector of filters at a time.
template <class A, int row_count, int run>
void correlate(const Extent3& grid, const PaddedPlane& plane, const A* gradient, int64_t pitch,
               const A* source, const int64_t* rows, A* sums) {
  Vec<A> sum[row_count][run];
  for (int r = 0; r < row_count; ++r)
    for (int t = 0; t < run; ++t) sum[r][t] = load<A>(sums + (r * run + t) * lanes<A>);
  for (int64_t d = 0; d < grid.d; ++d)
    for (int64_t h = 0; h < grid.h; ++h) {
      const A* from[row_count];
      for (int r = 0; r < row_count; ++r) from[r] = source + plane.at(d, h, 0) + rows[r];
      for (int64_t w = 0; w < grid.w; ++w, gradient += pitch) {
        const Vec<A> dy = load<A>(gradient);
#pragma GCC unroll 12
        for (int r = 0; r < row_count; ++r)
#pragma GCC unroll 5
          for (int t = 0; t < run; ++t)
            sum[r][t] = fma<A>(broadcast(from[r][w + t]), dy, sum[r][t]);
      }
    }
#pragma GCC unroll 12
  for (int r = 0; r < row_count; ++r)
#pragma GCC unroll 5
    for (int t = 0; t < run; ++t) store<A>(sums + (r * run + t) * lanes<A>, sum[r][t]);
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
