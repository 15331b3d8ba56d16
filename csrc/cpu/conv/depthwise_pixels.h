// Depthwise convolution in nhwc: lanes are channels, runs of taps lie along w.
//
// fprop and dgrad: a task is a row of the destination. Blocks of four pixels whose taps are all
// inside go through all channels, a vector at a time; pixels at the borders go alone, with the taps
// that they have. Weights are packed once a call as [channel vector][tap][lane].
// wgrad: a task is a chunk of the rows; how many there are depends on the problem only, and their
// sums are added in their order, so that the result does not depend on the threads.
// Memory: the packed weights; for wgrad a copy of the weights for each chunk, 4 MiB at most or one.
#pragma once

#include <memory>
#include <vector>

#include "cpu/conv/depthwise.h"

namespace cnnkern::cpu::CNNKERN_CPU_ISA {

/// The channels of a layer in vectors. The last one moves back to end with them, and what it does
/// twice comes out the same; only fewer channels than lanes leave lanes empty.
template <class A>
struct ChannelVectors {
  int64_t channels, count, size;  // count vectors, of which `size` lanes take part

  explicit ChannelVectors(int64_t c)
      : channels(c), count(ceil_div(c, lanes<A>)), size(std::min<int64_t>(c, lanes<A>)) {}

  int64_t first(int64_t vector) const { return std::min(vector * lanes<A>, channels - size); }
};

inline bool row_inside(const Gather& gather, const Tap& tap, int64_t d, int64_t h) {
  const int64_t at_d = d * gather.step.d + tap.d, at_h = h * gather.step.h + tap.h;
  return at_d >= 0 && at_d < gather.extent.d && at_h >= 0 && at_h < gather.extent.h;
}

/// The runs of a gather along w.
struct PixelRuns {
  const Gather& g;
  int64_t taps, hop, pitch;
  std::vector<Span> spans;  // of the taps along w; here, since each takes divisions

  explicit PixelRuns(const Gather& gather)
      : g(gather),
        taps(g.tap_count > 0 ? g.taps_along.w : 0),
        hop(run_hop(g.step.w, taps > 1 ? g.taps[0].w : 0, taps > 1 ? g.taps[1].w : 0, taps)),
        pitch(g.step.w * g.strides.space.w) {
    for (int64_t tap = 0; tap < taps; ++tap)
      spans.emplace_back(g.taps[tap].w, g.step.w, g.extent.w, g.grid.w);
  }

  /// body(first tap, taps, its row of taps) of taps [begin, end) along w, for the pixels of a row.
  template <class Body>
  void for_each(int64_t d, int64_t h, int64_t begin, int64_t end, Body&& body) const {
    for (int64_t row = 0; row < g.tap_count; row += taps)
      if (row_inside(g, g.taps[row], d, h))
        for_each_run(begin, end, hop,
                     [&](int64_t first, int64_t count) { body(row + first, count); });
  }
};

template <class T>
class DepthwisePixels {
  using A = accumulator_t<T>;

 public:
  explicit DepthwisePixels(const GatherClasses& all) : all_(all), channels_(all.parts[0].groups) {
    for (const GatherConv& conv : all.parts) {
      rows_.emplace_back(conv.gather);
      weights_.push_back(
          std::make_unique<Buffer<A>>(channels_.count * conv.gather.tap_count * lanes<A>));
      pack(conv, weights_.back()->get());
    }
  }

  void run(const ParallelFor& parallel) const {
    const Extent3& extent = all_.extent;
    const int64_t images = all_.parts[0].gather.images;
    parallel(images * extent.d * extent.h, [&](int64_t begin, int64_t end) {
      Runs runs;
      for (int64_t row = begin; row < end; ++row) {
        const int64_t h = row % extent.h, d = row / extent.h % extent.d;
        const int64_t n = row / extent.h / extent.d;
        const int64_t part = (d % all_.classes.d * all_.classes.h + h % all_.classes.h);
        for (int64_t i = 0; i < all_.classes.w; ++i)
          with_reader<A>(channels_.size, [&](const auto& read) {
            run_row(part * all_.classes.w + i, n, d / all_.classes.d, h / all_.classes.h, runs,
                    read);
          });
      }
    });
  }

 private:
  void pack(const GatherConv& conv, A* to) const {
    for (int64_t v = 0; v < channels_.count; ++v)
      for (int64_t t = 0; t < conv.gather.tap_count; ++t, to += lanes<A>)
        for (int64_t i = 0; i < lanes<A>; ++i)
          to[i] = i < channels_.size
                      ? static_cast<A>(static_cast<const T*>(
                            conv.weight)[(channels_.first(v) + i) * conv.weight_group +
                                         conv.gather.taps[t].weight])
                      : A(0);
  }

  template <class Reader>
  void run_row(int64_t part, int64_t n, int64_t d, int64_t h, Runs& runs,
               const Reader& read) const {
    const GatherConv& conv = all_.parts[part];
    const Gather& g = conv.gather;
    const PixelRuns& row = rows_[part];
    const auto collect = [&](int64_t begin, int64_t end) {
      runs.clear();
      row.for_each(d, h, begin, end, [&](int64_t tap, int64_t taps) {
        runs.add({g.taps[tap].source, tap * lanes<A>, taps});
      });
    };
    const int64_t source = g.strides.at(n, 0, d * g.step.d, h * g.step.h, 0);
    const int64_t to = conv.dest_strides.at(n, 0, d, h, 0);
    const auto border = [&](int64_t begin, int64_t end) {
      for (int64_t w = begin; w < end; ++w) {
        int64_t first = 0, last = row.taps;  // inside are neighbours
        const auto outside = [&](int64_t tap) {
          const int64_t at = w * g.step.w + g.taps[tap].w;
          return at < 0 || at >= g.extent.w;
        };
        while (first < last && outside(first)) ++first;
        while (first < last && outside(last - 1)) --last;
        collect(first, last);
        compute<1>(part, source, to, w, runs, read);
      }
    };
    const int64_t inner = row.taps ? row.spans[0].begin : 0;
    const int64_t outer = row.taps ? std::max(inner, row.spans[row.taps - 1].end) : g.grid.w;
    border(0, inner);
    collect(0, row.taps);
    in_fours(inner, outer, [&]<int pixels>(std::integral_constant<int, pixels>, int64_t w) {
      compute<pixels>(part, source, to, w, runs, read);
    });
    border(outer, g.grid.w);
  }

  // Pixels from w on, all channels.
  template <int pixels, class Reader>
  void compute(int64_t part, int64_t source, int64_t to, int64_t w, const Runs& runs,
               const Reader& read) const {
    const GatherConv& conv = all_.parts[part];
    const PixelRuns& row = rows_[part];
    const Epilogue<A, T> epilogue(conv);
    const T* const from = static_cast<const T*>(conv.gather.source) + source + w * row.pitch;
    const T* const bias = static_cast<const T*>(conv.bias);
    const A* weights = weights_[part]->get();
    for (int64_t v = 0; v < channels_.count; ++v) {
      const int64_t c = channels_.first(v);
      Vec<A> sums[pixels];
      const Vec<A> start = bias ? read(bias + c) : Vec<A>{};
      for (Vec<A>& sum : sums) sum = start;
      slide_all<pixels>(read, runs, from + c, row.pitch, weights, row.hop * lanes<A>, sums);
      for (int i = 0; i < pixels; ++i)
        epilogue.store(to + (w + i) * conv.dest_strides.space.w + c, sums[i], channels_.size);
      weights += conv.gather.tap_count * lanes<A>;
    }
  }

  const GatherClasses& all_;
  ChannelVectors<A> channels_;
  std::vector<PixelRuns> rows_;                      // of each part
  std::vector<std::unique_ptr<Buffer<A>>> weights_;  // likewise
};

template <class T>
void depthwise_pixels(const GatherClasses& all, const ParallelFor& parallel) {
  DepthwisePixels<T>(all).run(parallel);
}

template <class T>
void depthwise_weights_pixels(const ReduceConv& conv, const ParallelFor& parallel) {
  using A = accumulator_t<T>;
  const Gather &x = conv.patches, &y = conv.gradient;
  const ChannelVectors<A> channels(conv.groups);
  const PixelRuns row(x);
  const int64_t rows = x.images * x.grid.d * x.grid.h;
  const int64_t size = channels.count * x.tap_count * lanes<A>;
  // A chunk's sums are zeroed and added up: of fewer pixels than this that would be half the work.
  constexpr int64_t most_chunks = 32, most_bytes = 4 << 20, least_pixels = 64;
  const int64_t wanted = std::clamp<int64_t>(rows * x.grid.w / least_pixels, 1, most_chunks);
  const int64_t chunks = std::clamp<int64_t>(most_bytes / static_cast<int64_t>(size * sizeof(A)), 1,
                                             std::min(wanted, std::max<int64_t>(rows, 1)));
  Buffer<A> sums(chunks * size);

  const auto add_row = [&](const auto& read, const PixelCursor& at, int64_t c, A* to) {
    const T* const gradient =
        static_cast<const T*>(y.source) + y.strides.at(at.n, c, at.d, at.h, 0);
    const T* const source = static_cast<const T*>(x.source) +
                            x.strides.at(at.n, c, at.d * x.step.d, at.h * x.step.h, 0);
    const int64_t step = y.strides.space.w;
    row.for_each(at.d, at.h, 0, row.taps, [&](int64_t tap, int64_t count) {
      const Span* const spans = &row.spans[tap % row.taps];
      const int64_t inner = spans->begin;
      const int64_t outer = std::max(inner, spans[(count - 1) * row.hop].end);
      with_taps(count, [&]<int taps>(std::integral_constant<int, taps>) {
        Vec<A> own[taps];
        for (int i = 0; i < taps; ++i) own[i] = load<A>(to + (tap + i * row.hop) * lanes<A>);
        in_fours(inner, outer, [&]<int pixels>(std::integral_constant<int, pixels>, int64_t w) {
          slide_reduce<pixels, taps, A>(read, gradient + w * step, step,
                                        source + x.taps[tap].source + w * row.pitch, row.pitch,
                                        own);
        });
        for (int i = 0; i < taps; ++i) {
          const int64_t alone = tap + i * row.hop;
          const Span span = spans[i * row.hop];
          const auto add = [&](int64_t begin, int64_t end) {
            for (int64_t w = begin; w < end; ++w)
              own[i] = fma<A>(read(gradient + w * step),
                              read(source + x.taps[alone].source + w * row.pitch), own[i]);
          };
          add(span.begin, std::min(inner, span.end));
          add(std::max(outer, span.begin), span.end);
          store<A>(to + alone * lanes<A>, own[i]);
        }
      });
    });
  };

  parallel(chunks, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      A* const own = sums.get() + chunk * size;
      std::fill_n(own, size, A(0));
      // Vector by vector: a chunk's pixels of one stay in L1 for the rows that share them.
      with_reader<A>(channels.size, [&](const auto& read) {
        for (int64_t v = 0; v < channels.count; ++v) {
          PixelCursor at(x, rows * chunk / chunks * x.grid.w);
          for (int64_t i = rows * chunk / chunks; i < rows * (chunk + 1) / chunks; ++i) {
            add_row(read, at, channels.first(v), own + v * x.tap_count * lanes<A>);
            at.w = x.grid.w - 1;
            at.advance();
          }
        }
      });
    }
  });
  for (int64_t v = 0; v < channels.count; ++v)
    for (int64_t t = 0; t < x.tap_count; ++t) {
      const int64_t at = (v * x.tap_count + t) * lanes<A>;
      for (int64_t chunk = 1; chunk < chunks; ++chunk)
        store<A>(&sums[at], load<A>(&sums[at]) + load<A>(&sums[chunk * size + at]));
      for (int64_t i = 0; i < channels.size; ++i)
        static_cast<T*>(
            conv.weight)[(channels.first(v) + i) * conv.weight_filter + x.taps[t].weight] =
            static_cast<T>(sums[at + i]);
    }
}

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
