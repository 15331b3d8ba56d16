// Depthwise convolution in nhwc: lanes are channels, runs of taps lie along w.
//
// fprop and dgrad: a task is a row of the destination. Blocks of four pixels go through all
// channels, two vectors at a time, a cache line with 32-byte ones; at the borders they read zeros
// through the same pointers. Weights are packed once a call as [channel vector][tap][lane].
// wgrad: a task is a chunk of the rows; how many there are depends on the problem only, and their
// sums are added in their order, so that the result does not depend on the threads.
// Memory: the packed weights and a pixel of zeros; for wgrad a copy of the weights for each chunk,
// 4 MiB at most or one.
#pragma once

#include <memory>
#include <vector>

#include "cpu/conv/depthwise.h"

namespace cnnkern::cpu::CNNKERN_CPU_ISA {

/// body(constant, reader, v) with vectors v and v + 1, or v alone where no second whole one
/// follows.
template <class A, class Body>
inline void for_each_vectors(const ChannelVectors<A>& all, Body&& body) {
  using One = std::integral_constant<int, 1>;
  if (all.size < lanes<A>) return body(One(), LaneReader<A, false>{all.size}, 0);
  const LaneReader<A, true> read{lanes<A>};
  int64_t v = 0;
  for (; (v + 2) * lanes<A> <= all.channels; v += 2)
    body(std::integral_constant<int, 2>(), read, v);
  for (; v < all.count; ++v) body(One(), read, v);
}

inline bool row_inside(const Gather& gather, const Tap& tap, int64_t d, int64_t h) {
  const int64_t at_d = d * gather.step.d + tap.d, at_h = h * gather.step.h + tap.h;
  return at_d >= 0 && at_d < gather.extent.d && at_h >= 0 && at_h < gather.extent.h;
}

// Lines of pixels side by side follow each other for too short a way to be fetched by themselves.
// (Inlined always: a call that only prefetches g++ takes for one without effect.)
template <int write, class T>
[[gnu::always_inline]] inline void prefetch(const T* from, int64_t count) {
  for (int64_t i = 0; i < count; i += 64 / static_cast<int64_t>(sizeof(T)))
    __builtin_prefetch(from + i, write);
}

/// The runs of a gather along w.
struct PixelRuns {
  const Gather& g;
  int64_t taps, hop, pitch;
  std::vector<Span> spans;  // of the taps along w; here, since each takes divisions

  explicit PixelRuns(const Gather& gather)
      : g(gather),
        taps(TapsAlongW(gather).count),
        hop(TapsAlongW(gather).hop),
        pitch(g.step.w * g.strides.space.w) {
    for (int64_t tap = 0; tap < taps; ++tap)
      spans.emplace_back(g.taps[tap].w, g.step.w, g.extent.w, g.grid.w);
  }

  /// body(first tap, taps) of the runs that are inside for a row of pixels.
  template <class Body>
  void for_each(int64_t d, int64_t h, Body&& body) const {
    for (int64_t row = 0; row < g.tap_count; row += taps)
      if (row_inside(g, g.taps[row], d, h))
        for_each_run(taps, hop, [&](int64_t first, int64_t count) { body(row + first, count); });
  }

  /// The rows that the next row of pixels is the first to read, if row h reads from `source` on;
  /// null: they are beyond.
  template <class T>
  const T* below(const T* source, int64_t h) const {
    const int64_t next = h * g.step.h + g.highest.h + 1;
    const bool inside = next >= 0 && next + g.step.h <= g.extent.h;
    return inside ? source + (next - h * g.step.h) * g.strides.space.h : nullptr;
  }

  /// Of what pixels from w on read there, `count` elements a step, after `done` a step.
  template <class T>
  [[gnu::always_inline]] void prefetch_below(const T* rows, int64_t w, int64_t done,
                                             int64_t count) const {
    if (!rows) return;
    for (int64_t h = 0; h < g.step.h; ++h)
      prefetch<0>(rows + h * g.strides.space.h + w * pitch + done * g.step.w, count * g.step.w);
  }
};

template <class T>
class DepthwisePixels {
  using A = accumulator_t<T>;
  static constexpr int block = 4;                        // pixels
  static constexpr int reach = block + longest_run - 1;  // pixels that they read for a run

 public:
  explicit DepthwisePixels(const GatherClasses& all)
      : all_(all), channels_(all.parts[0].groups), zeros_(all.parts[0].groups) {
    std::fill_n(zeros_.get(), channels_.channels, T(0));
    const Gather& g = all.parts[0].gather;
    const int64_t pixels = g.images * (g.extent.volume() + all.extent.volume());
    far_ = pixels * channels_.channels * static_cast<int64_t>(sizeof(T)) >= 512 << 10;
    for (const GatherConv& conv : all.parts) {
      rows_.emplace_back(conv.gather);
      weights_.push_back(pack_channels<T>(conv, channels_));
    }
  }

  void run(const ParallelFor& parallel) const {
    const Extent3& extent = all_.extent;
    const int64_t images = all_.parts[0].gather.images;
    parallel(images * extent.d * extent.h, [&](int64_t begin, int64_t end) {
      Reads reads;
      for (int64_t row = begin; row < end; ++row) {
        const int64_t h = row % extent.h, d = row / extent.h % extent.d;
        const int64_t n = row / extent.h / extent.d;
        const int64_t part = (d % all_.classes.d * all_.classes.h + h % all_.classes.h);
        for (int64_t i = 0; i < all_.classes.w; ++i)
          run_row(part * all_.classes.w + i, n, d / all_.classes.d, h / all_.classes.h, reads);
      }
    });
  }

 private:
  // The runs of a row of pixels, and the pixels that a block reads for them: zeros take the place
  // of those outside. The source of a run is where its pixels begin.
  struct Reads {
    Runs runs;
    std::vector<const T*> from;
    const T* below;  // the rows that the next row of pixels is the first to read; null: beyond
  };

  void run_row(int64_t part, int64_t n, int64_t d, int64_t h, Reads& reads) const {
    const GatherConv& conv = all_.parts[part];
    const Gather& g = conv.gather;
    const int64_t to = conv.dest_strides.at(n, 0, d, h, 0);
    const T* const source =
        static_cast<const T*>(g.source) + g.strides.at(n, 0, d * g.step.d, h * g.step.h, 0);
    reads.runs.clear();
    int64_t runs = 0;
    rows_[part].for_each(d, h, [&](int64_t tap, int64_t taps) {
      reads.runs.add({reach * runs++, tap * lanes<A>, taps});
    });
    reads.from.resize(reach * runs);
    reads.below = rows_[part].below(source, h);
    in_blocks<block>(g.grid.w, [&]<int pixels>(std::integral_constant<int, pixels>, int64_t w) {
      aim<pixels>(part, source, w, reads);
      compute<pixels>(part, to, w, reads);
    });
  }

  // Where pixels from w on read.
  template <int pixels>
  void aim(int64_t part, const T* source, int64_t w, Reads& reads) const {
    const Gather& g = all_.parts[part].gather;
    reads.runs.for_each([&](const Run& run) {
      const Tap& tap = g.taps[run.weight / lanes<A>];
      int64_t column = w * g.step.w + tap.w;
      const T* from = source + tap.source + w * rows_[part].pitch;
      for (int64_t i = 0; i < pixels + run.taps - 1; ++i) {
        reads.from[run.source + i] = column >= 0 && column < g.extent.w ? from : zeros_.get();
        column += g.step.w;
        from += rows_[part].pitch;
      }
    });
  }

  // Pixels from w on, all channels.
  template <int pixels>
  void compute(int64_t part, int64_t to, int64_t w, const Reads& reads) const {
    const GatherConv& conv = all_.parts[part];
    const Epilogue<A, T> epilogue(conv);
    const Clamp<A> clamp = epilogue.clamp();
    const bool clamps = epilogue.clamps();
    const T* const bias = static_cast<const T*>(conv.bias);
    const int64_t pitch = conv.dest_strides.space.w, size = conv.gather.tap_count * lanes<A>;
    const A* weights = weights_[part]->get();
    const Gather& g = conv.gather;
    to += w * pitch;
    for_each_vectors(channels_, [&]<int vectors>(std::integral_constant<int, vectors>,
                                                 const auto& read, int64_t first) {
      const int64_t c = channels_.first(first);
      T* const dest = epilogue.dest + to + c;
      if (far_) {
        // In as many turns as there are vectors: what the block below reads first, what the next
        // one stores.
        const int64_t done = pixels * first * lanes<A>, count = pixels * vectors * lanes<A>;
        rows_[part].prefetch_below(reads.below, w, done, count);
        prefetch<1>(epilogue.dest + to + pixels * pitch + done * all_.classes.w,
                    count * all_.classes.w);
      }
      Vec<A> sums[vectors][pixels];
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v)
#pragma GCC unroll 4
        for (int i = 0; i < pixels; ++i)
          sums[v][i] = bias ? read(bias + c + v * lanes<A>) : Vec<A>{};
      slide_all(
          reads.runs,
          [&](const Run& run, int v, int at) {
            return read(reads.from[run.source + at] + c + v * lanes<A>);
          },
          weights, rows_[part].hop * lanes<A>, size, sums);
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v)
#pragma GCC unroll 4
        for (int i = 0; i < pixels; ++i) {
          if (clamps && channels_.size == lanes<A>)
            store<A>(dest + i * pitch + v * lanes<A>, clamp(sums[v][i]));
          else epilogue.store(to + i * pitch + c + v * lanes<A>, sums[v][i], channels_.size);
        }
      weights += vectors * size;
    });
  }

  const GatherClasses& all_;
  ChannelVectors<A> channels_;
  Buffer<T> zeros_;
  bool far_;                     // what is read and written does not come from L2
  std::vector<PixelRuns> rows_;  // of each part
  std::vector<std::unique_ptr<Buffer<A>>> weights_;  // likewise
};

template <class T>
void depthwise_pixels(const GatherClasses& all, const ParallelFor& parallel) {
  DepthwisePixels<T>(all).run(parallel);
}

/// The weight's gradient: of each chunk of rows, its sums as [channel vector][tap][lane].
template <class T>
class DepthwiseWeightsPixels {
  using A = accumulator_t<T>;

 public:
  explicit DepthwiseWeightsPixels(const ReduceConv& conv)
      : conv_(conv),
        x_(conv.patches),
        y_(conv.gradient),
        channels_(conv.groups),
        row_(x_),
        outer_(x_.grid.w) {
    for (const Span& span : row_.spans)
      inner_ = std::max(inner_, span.begin), outer_ = std::min(outer_, span.end);
    outer_ = std::max(inner_, outer_);
  }

  void run(const ParallelFor& parallel) const {
    const int64_t rows = x_.images * x_.grid.d * x_.grid.h;
    const int64_t size = channels_.count * x_.tap_count * lanes<A>;
    // A chunk's sums are zeroed and added up: of fewer pixels than this that would be half the
    // work.
    constexpr int64_t most_chunks = 32, most_bytes = 4 << 20, least_pixels = 64;
    const int64_t wanted = std::clamp<int64_t>(rows * x_.grid.w / least_pixels, 1, most_chunks);
    const int64_t chunks = std::clamp<int64_t>(most_bytes / static_cast<int64_t>(size * sizeof(A)),
                                               1, std::min(wanted, std::max<int64_t>(rows, 1)));
    Buffer<A> sums(chunks * size);
    parallel(chunks, [&](int64_t begin, int64_t end) {
      std::vector<Run> runs;
      for (int64_t chunk = begin; chunk < end; ++chunk) {
        A* const own = sums.get() + chunk * size;
        std::fill_n(own, size, A(0));
        with_reader<A>(channels_.size, [&](const auto& read) {
          PixelCursor at(x_, rows * chunk / chunks * x_.grid.w);
          for (int64_t i = rows * chunk / chunks; i < rows * (chunk + 1) / chunks; ++i) {
            add_row(read, at, runs, own);
            at.w = x_.grid.w - 1;
            at.advance();
          }
        });
      }
    });
    for (int64_t v = 0; v < channels_.count; ++v)
      for (int64_t t = 0; t < x_.tap_count; ++t) {
        const int64_t at = (v * x_.tap_count + t) * lanes<A>;
        for (int64_t chunk = 1; chunk < chunks; ++chunk)
          store<A>(&sums[at], load<A>(&sums[at]) + load<A>(&sums[chunk * size + at]));
        for (int64_t i = 0; i < channels_.size; ++i)
          static_cast<T*>(
              conv_.weight)[(channels_.first(v) + i) * conv_.weight_filter + x_.taps[t].weight] =
              static_cast<T>(sums[at + i]);
      }
  }

 private:
  /// Blocks of pixels go through all channels, as forward; `runs` is for this row.
  template <class Reader>
  void add_row(const Reader& read, const PixelCursor& at, std::vector<Run>& runs, A* to) const {
    const int64_t step = y_.strides.space.w;
    const T* const gradient =
        static_cast<const T*>(y_.source) + y_.strides.at(at.n, 0, at.d, at.h, 0);
    const T* const source = static_cast<const T*>(x_.source) +
                            x_.strides.at(at.n, 0, at.d * x_.step.d, at.h * x_.step.h, 0);
    runs.clear();
    row_.for_each(at.d, at.h, [&](int64_t tap, int64_t taps) {
      runs.push_back({x_.taps[tap].source, tap * lanes<A>, taps});
    });
    const T* const below = row_.below(source, at.h);
    in_fours(inner_, outer_, [&]<int pixels>(std::integral_constant<int, pixels>, int64_t w) {
      for (int64_t v = 0; v < channels_.count; ++v) {
        const int64_t done = pixels * v * lanes<A>, count = pixels * lanes<A>;
        row_.prefetch_below(below, w, done, count);
        if (below) prefetch<0>(gradient + (x_.grid.w + w) * step + done, count);
        const T* const dy = gradient + w * step + channels_.first(v);
        const T* const from = source + w * row_.pitch + channels_.first(v);
        Vec<A> factor[pixels];
#pragma GCC unroll 4
        for (int i = 0; i < pixels; ++i) factor[i] = in_register(read(dy + i * step));
        A* const sums = to + v * x_.tap_count * lanes<A>;
        for (const Run& run : runs)
          with_taps(run.taps, [&]<int taps>(std::integral_constant<int, taps>) {
            Vec<A> own[taps];
#pragma GCC unroll 4
            for (int i = 0; i < taps; ++i)
              own[i] = load<A>(sums + run.weight + i * row_.hop * lanes<A>);
            slide_reduce<pixels, taps, A>(read, factor, from + run.source, row_.pitch, own);
#pragma GCC unroll 4
            for (int i = 0; i < taps; ++i)
              store<A>(sums + run.weight + i * row_.hop * lanes<A>, own[i]);
          });
      }
    });
    for (int64_t w = 0; w < inner_; ++w) add_pixel(read, gradient, source, w, runs, to);
    for (int64_t w = outer_; w < x_.grid.w; ++w) add_pixel(read, gradient, source, w, runs, to);
  }

  /// A pixel of which not all taps are inside.
  template <class Reader>
  void add_pixel(const Reader& read, const T* gradient, const T* source, int64_t w,
                 const std::vector<Run>& runs, A* to) const {
    for (const Run& run : runs)
      for (int64_t i = 0; i < run.taps; ++i) {
        const int64_t tap = run.weight / lanes<A> + i * row_.hop;
        const Span& span = row_.spans[tap % row_.taps];
        if (w < span.begin || w >= span.end) continue;
        for (int64_t v = 0; v < channels_.count; ++v) {
          A* const sum = to + (v * x_.tap_count + tap) * lanes<A>;
          const T* const dy = gradient + w * y_.strides.space.w + channels_.first(v);
          const T* const from = source + x_.taps[tap].source + w * row_.pitch + channels_.first(v);
          store<A>(sum, fma<A>(read(dy), read(from), load<A>(sum)));
        }
      }
  }

  const ReduceConv& conv_;
  const Gather &x_, &y_;
  ChannelVectors<A> channels_;
  PixelRuns row_;
  int64_t inner_ = 0, outer_;  // where all taps along w are inside
};

template <class T>
void depthwise_weights_pixels(const ReduceConv& conv, const ParallelFor& parallel) {
  DepthwiseWeightsPixels<T>(conv).run(parallel);
}

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
