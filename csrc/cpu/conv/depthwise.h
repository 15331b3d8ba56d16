// Depthwise convolution, directly: each channel is filtered by itself, so there is no GEMM.
//
// nchw: a task is a plane; rows of outputs are summed tap by tap in a row of numbers that stays in
// L1, over the part of the row that the tap finds inside. nhwc: a task is a row of pixels; lanes
// are channels, and the weights are packed once a call as [tap][channel].
// wgrad, nchw: a task is a filter, summed over images and rows, lanes along w. wgrad, nhwc: a task
// is a vector of channels. Both sum in an order that no thread count changes.
#pragma once

#include "cpu/conv/gemm.h"
#include "cpu/conv/patches.h"

namespace cnnkern::cpu::CNNKERN_CPU_ISA {

// The pixels [begin, end) of a row for which a tap at offset `tap` is inside.
struct Span {
  int64_t begin, end;

  Span(int64_t tap, int64_t step, int64_t extent, int64_t grid)
      : begin(tap >= 0 ? 0 : ceil_div(-tap, step)),
        end(tap >= extent ? 0 : std::min(grid, (extent - 1 - tap) / step + 1)) {}
};

inline bool row_inside(const Gather& gather, const Tap& tap, int64_t d, int64_t h) {
  const int64_t at_d = d * gather.step.d + tap.d, at_h = h * gather.step.h + tap.h;
  return at_d >= 0 && at_d < gather.extent.d && at_h >= 0 && at_h < gather.extent.h;
}

/// Lanes of elements `step` apart: the last one read is the last lane's.
template <class A, class T>
inline Vec<A> load_step(const T* from, int64_t step) {
  if (step == 1) return load<A>(from);
  Vec<A> result = {};
  for (int i = 0; i < lanes<A>; ++i) result[i] = static_cast<A>(from[i * step]);
  return result;
}

template <class T>
void depthwise_planes(const GatherConv& conv, const ParallelFor& parallel) {
  using A = accumulator_t<T>;
  const Gather& g = conv.gather;
  const int64_t filters = conv.groups * conv.filters, width = g.grid.w, step = g.step.w;
  const Epilogue<A, T> epilogue(conv);
  parallel(g.images * filters, [&](int64_t task_begin, int64_t task_end) {
    Buffer<A> sums(width);
    for (int64_t task = task_begin; task < task_end; ++task) {
      const int64_t n = task / filters, filter = task % filters, group = filter / conv.filters;
      const T* const source =
          static_cast<const T*>(g.source) + n * g.strides.n + group * g.strides.c;
      const T* const weight = static_cast<const T*>(conv.weight) + group * conv.weight_group +
                              filter % conv.filters * conv.weight_filter;
      const A bias = conv.bias ? static_cast<A>(static_cast<const T*>(conv.bias)[filter]) : A(0);
      for (int64_t d = 0; d < g.grid.d; ++d)
        for (int64_t h = 0; h < g.grid.h; ++h) {
          std::fill_n(sums.get(), width, bias);
          for (int64_t t = 0; t < g.tap_count; ++t) {
            const Tap& tap = g.taps[t];
            if (!row_inside(g, tap, d, h)) continue;
            const Span span(tap.w, step, g.extent.w, width);
            const T* const row =
                source + g.strides.at(0, 0, d * g.step.d, h * g.step.h, 0) + tap.source;
            const A factor = static_cast<A>(weight[tap.weight]);
            int64_t w = span.begin;
            for (; w + lanes<A> <= span.end; w += lanes<A>)
              store<A>(&sums[w], fma<A>(broadcast(factor), load_step<A>(row + w * step, step),
                                        load<A>(&sums[w])));
            for (; w < span.end; ++w) sums[w] += factor * static_cast<A>(row[w * step]);
          }
          epilogue.store_row(conv.dest_strides.at(n, filter, d, h, 0), sums.get(), width,
                             conv.dest_strides.space.w);
        }
    }
  });
}

template <class T>
void depthwise_pixels(const GatherConv& conv, const ParallelFor& parallel) {
  using A = accumulator_t<T>;
  const Gather& g = conv.gather;
  const int64_t channels = conv.groups;
  Buffer<A> weights(g.tap_count * channels);
  for (int64_t t = 0; t < g.tap_count; ++t)
    for (int64_t c = 0; c < channels; ++c)
      weights[t * channels + c] = static_cast<A>(
          static_cast<const T*>(conv.weight)[c * conv.weight_group + g.taps[t].weight]);
  const Epilogue<A, T> epilogue(conv);
  const int64_t rows = g.images * g.grid.d * g.grid.h;
  parallel(rows, [&](int64_t task_begin, int64_t task_end) {
    Buffer<A> sums(channels);
    PixelCursor at(g, task_begin * g.grid.w);
    for (int64_t i = task_begin * g.grid.w; i < task_end * g.grid.w; ++i, at.advance()) {
      const int64_t w = at.w * g.step.w;
      const T* const source = static_cast<const T*>(g.source) +
                              g.strides.at(at.n, 0, at.d * g.step.d, at.h * g.step.h, w);
      const int64_t to = conv.dest_strides.at(at.n, 0, at.d, at.h, at.w);
      const auto inside = [&](const Tap& tap) {
        return row_inside(g, tap, at.d, at.h) && w + tap.w >= 0 && w + tap.w < g.extent.w;
      };
      for (int64_t c = 0; c < channels; c += lanes<A>) {
        const int64_t count = std::min<int64_t>(lanes<A>, channels - c);
        const auto read = [&](const auto* from) {
          return count == lanes<A> ? load<A>(from) : load_partial<A>(from, count);
        };
        Vec<A> sum = conv.bias ? read(static_cast<const T*>(conv.bias) + c) : Vec<A>{};
        for (int64_t t = 0; t < g.tap_count; ++t)
          if (inside(g.taps[t]))
            sum =
                fma<A>(read(source + g.taps[t].source + c), read(&weights[t * channels + c]), sum);
        epilogue.store(to + c, sum, count);
      }
    }
  });
}

/// wgrad: one filter per task and tap by tap in nchw, a vector of channels per task in nhwc.
template <class T, Layout layout>
void depthwise_weights(const ReduceConv& conv, const ParallelFor& parallel) {
  using A = accumulator_t<T>;
  const Gather &x = conv.patches, &y = conv.gradient;
  const int64_t filters = conv.groups * y.channels, width = x.grid.w, step = x.step.w;
  const int64_t block = layout == Layout::nchw ? 1 : lanes<A>;
  parallel(ceil_div(filters, block), [&](int64_t task_begin, int64_t task_end) {
    Buffer<Vec<A>> sums(x.tap_count);
    Buffer<A> rests(x.tap_count);
    for (int64_t task = task_begin; task < task_end; ++task) {
      const int64_t filter = task * block, group = filter / y.channels;
      const int64_t count = std::min(block, filters - filter);
      std::fill_n(sums.get(), x.tap_count, Vec<A>{});
      std::fill_n(rests.get(), x.tap_count, A(0));
      for (int64_t row = 0; row < x.images * x.grid.d * x.grid.h; ++row) {
        const PixelCursor at(x, row * width);
        const T* const gradient =
            static_cast<const T*>(y.source) + y.strides.at(at.n, filter, at.d, at.h, 0);
        const T* const source = static_cast<const T*>(x.source) +
                                x.strides.at(at.n, group, at.d * x.step.d, at.h * x.step.h, 0);
        for (int64_t t = 0; t < x.tap_count; ++t) {
          const Tap& tap = x.taps[t];
          if (!row_inside(x, tap, at.d, at.h)) continue;
          const Span span(tap.w, step, x.extent.w, width);
          const T* const taps = source + tap.source;
          Vec<A> sum = sums[t];
          int64_t w = span.begin;
          if constexpr (layout == Layout::nchw) {
            for (; w + lanes<A> <= span.end; w += lanes<A>)
              sum = fma<A>(load<A>(gradient + w), load_step<A>(taps + w * step, step), sum);
            for (; w < span.end; ++w)
              rests[t] += static_cast<A>(gradient[w]) * static_cast<A>(taps[w * step]);
          } else {
            const auto read = [&](const T* from) {
              return count == lanes<A> ? load<A>(from) : load_partial<A>(from, count);
            };
            for (; w < span.end; ++w)
              sum = fma<A>(read(gradient + w * y.strides.space.w),
                           read(taps + w * step * x.strides.space.w), sum);
          }
          sums[t] = sum;
        }
      }
      for (int64_t t = 0; t < x.tap_count; ++t) {
        T* const to = static_cast<T*>(conv.weight) + x.taps[t].weight;
        if constexpr (layout == Layout::nchw) {
          A sum = rests[t];
          for (int i = 0; i < lanes<A>; ++i) sum += sums[t][i];
          to[filter * conv.weight_filter] = static_cast<T>(sum);
        } else {
          for (int64_t i = 0; i < count; ++i)
            to[(filter + i) * conv.weight_filter] = static_cast<T>(sums[t][i]);
        }
      }
    }
  });
}

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
