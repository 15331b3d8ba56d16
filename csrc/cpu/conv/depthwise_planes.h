// Depthwise convolution in nchw, of planes of any size: lanes lie along w, runs of taps along h.
//
// A task is a channel of an image. Block by block of its outputs, what they read is copied in
// phases (plane_block.h). The sums of a block go to a buffer in L1, from where rows leave through
// the epilogue; dgrad's parity classes along w, which share the copy, interleave on the way.
// wgrad: a task is a channel, summed over all images, lanes along w, a sum for each lane.
// Memory: a block's copy and sums, some 16 KiB each, more only if the taps lie far apart.
#pragma once

#include <memory>
#include <vector>

#include "cpu/conv/depthwise.h"

namespace cnnkern::cpu::CNNKERN_CPU_ISA {

/// The lower, or the upper, half of a0 b0 a1 b1 ….
template <class V, size_t... lane>
inline V zip(V a, V b, int upper, std::index_sequence<lane...>) {
  constexpr size_t size = sizeof...(lane);
  return upper ? __builtin_shufflevector(a, b, (size / 2 + lane / 2 + lane % 2 * size)...)
               : __builtin_shufflevector(a, b, (lane / 2 + lane % 2 * size)...);
}

/// The runs of a gather along h in the copy; weights are expanded to a vector a tap.
template <class T>
Runs plane_runs(const Gather& g, const PlaneBlock<T>& block, int64_t* weight_pitch) {
  constexpr int64_t size = lanes<accumulator_t<T>>;
  Runs runs;
  if (g.tap_count == 0) return runs;
  const int64_t rows = g.taps_along.h, cols = g.taps_along.w;
  const int64_t hop = run_hop(g.step.h, g.taps[0].h, rows > 1 ? g.taps[cols].h : 0, rows);
  for (int64_t layer = 0; layer < g.taps_along.d; ++layer)
    for (int64_t s = 0; s < cols; ++s)
      for_each_run(rows, hop, [&](int64_t r, int64_t taps) {
        const int64_t tap = (layer * rows + r) * cols + s;
        runs.add({block.offset(g, tap), tap * size, taps});
      });
  *weight_pitch = hop * cols * size;
  return runs;
}

// The parity classes along w, which share a copy of the source.
template <class T>
class PlaneRows {
  using A = accumulator_t<T>;

 public:
  explicit PlaneRows(std::span<const GatherConv> parts)
      : parts_(parts), block_(gathers_of(parts)), runs_(parts.size()), weight_pitch_(parts.size()) {
    for (size_t i = 0; i < parts.size(); ++i)
      runs_[i] = plane_runs(parts[i].gather, block_, &weight_pitch_[i]);
    sums_pitch_ = ceil_div(block_.cols, lanes<A>) * lanes<A>;
    for (const GatherConv& part : parts) taps_ = std::max(taps_, part.gather.tap_count);
  }

  /// Of one thread.
  struct Scratch {
    Buffer<A> source, sums, weights, row;

    explicit Scratch(const PlaneRows& rows)
        : source(rows.block_.elements()),
          sums(rows.classes() * rows.class_size()),
          weights(rows.taps_ * lanes<A>),
          row(rows.classes() * rows.sums_pitch_) {
      std::fill_n(source.get(), rows.block_.elements(), A(0));
    }
  };

  /// All rows of these classes in the planes of one group.
  void run(int64_t n, int64_t group, const Scratch& scratch) const {
    const GatherConv& first = parts_[0];
    const Gather& g = first.gather;
    const T* const source = static_cast<const T*>(g.source) + n * g.strides.n;
    for (int64_t filter = 0; filter < first.filters; ++filter) {
      const int64_t dest = group * first.filters + filter;
      const A bias = first.bias ? static_cast<A>(static_cast<const T*>(first.bias)[dest]) : A(0);
      for_each_block(block_, g.grid, [&](int64_t d, int64_t y, int64_t x, int64_t rows, int64_t) {
        const int64_t to = first.dest_strides.at(n, dest, d, y, 0) + x * classes();
        for (int64_t c = 0; c < g.channels; ++c) {
          if (filter == 0 || g.channels > 1 || !block_.whole_plane())
            block_.fill(source + (group * g.channels + c) * g.strides.c, d, y, x,
                        scratch.source.get());
          for (size_t part = 0; part < parts_.size(); ++part)
            add(part, group, filter, c, rows, bias, scratch);
        }
        finish(to, x, rows, scratch);
      });
    }
  }

 private:
  int64_t classes() const { return static_cast<int64_t>(parts_.size()); }
  int64_t class_size() const { return block_.rows * sums_pitch_; }

  // A channel's share in the sums of a block; the first one begins with the bias.
  void add(size_t part, int64_t group, int64_t filter, int64_t c, int64_t rows, A bias,
           const Scratch& scratch) const {
    const GatherConv& conv = parts_[part];
    const T* const weight = static_cast<const T*>(conv.weight) + group * conv.weight_group +
                            filter * conv.weight_filter + c * conv.weight_channel;
    A* const weights = scratch.weights.get();
    for (int64_t t = 0; t < conv.gather.tap_count; ++t)
      store<A>(weights + t * lanes<A>,
               broadcast(static_cast<A>(weight[conv.gather.taps[t].weight])));
    const int64_t pitch = block_.pitch();
    in_fours(0, rows, [&]<int count>(std::integral_constant<int, count>, int64_t row) {
      const A* const source = scratch.source.get() + row * pitch;
      A* const to = &scratch.sums[static_cast<int64_t>(part) * class_size() + row * sums_pitch_];
      for (int64_t x = 0; x < sums_pitch_; x += lanes<A>) {
        Vec<A> sums[1][count];
#pragma GCC unroll 4
        for (int i = 0; i < count; ++i)
          sums[0][i] = c > 0 ? load<A>(to + i * sums_pitch_ + x) : broadcast(bias);
        slide_all(
            runs_[part],
            [&](const Run& run, int, int at) {
              return load<A>(source + run.source + x + at * pitch);
            },
            weights, weight_pitch_[part], 0, sums);
#pragma GCC unroll 4
        for (int i = 0; i < count; ++i) store<A>(to + i * sums_pitch_ + x, sums[0][i]);
      }
    });
  }

  // The sums of a block to the destination.
  void finish(int64_t to, int64_t x, int64_t rows, const Scratch& scratch) const {
    const Epilogue<A, T> epilogue(parts_[0]);
    int64_t count = 0;
    for (const GatherConv& part : parts_)
      count += std::clamp<int64_t>(part.gather.grid.w - x, 0, block_.cols);
    for (int64_t row = 0; row < rows; ++row, to += parts_[0].dest_strides.space.h) {
      const A* from = &scratch.sums[row * sums_pitch_];
      if (classes() > 1) {
        interleave(from, scratch.row.get());
        from = scratch.row.get();
      }
      int64_t i = 0;
      for (; i + lanes<A> <= count; i += lanes<A>) epilogue.store(to + i, load<A>(from + i));
      if (i < count) epilogue.store(to + i, load<A>(from + i), count - i);
    }
  }

  void interleave(const A* from, A* to) const {
    constexpr auto sequence = std::make_index_sequence<lanes<A>>();
    if (classes() == 2) {
      for (int64_t x = 0; x < sums_pitch_; x += lanes<A>) {
        const Vec<A> even = load<A>(from + x), odd = load<A>(from + class_size() + x);
        store<A>(to + 2 * x, zip(even, odd, 0, sequence));
        store<A>(to + 2 * x + lanes<A>, zip(even, odd, 1, sequence));
      }
      return;
    }
    for (int64_t part = 0; part < classes(); ++part)
      for (int64_t x = 0; x < block_.cols; ++x)
        to[x * classes() + part] = from[part * class_size() + x];
  }

  std::span<const GatherConv> parts_;
  PlaneBlock<T> block_;
  std::vector<Runs> runs_;
  std::vector<int64_t> weight_pitch_;
  int64_t sums_pitch_, taps_ = 0;
};

template <class T>
void depthwise_planes(const GatherClasses& all, const ParallelFor& parallel) {
  std::vector<PlaneRows<T>> rows;
  const auto width = static_cast<size_t>(all.classes.w);
  for (size_t first = 0; first < all.parts.size(); first += width)
    rows.emplace_back(std::span(all.parts).subspan(first, width));
  const int64_t groups = all.parts[0].groups;
  parallel(all.parts[0].gather.images * groups, [&](int64_t begin, int64_t end) {
    std::vector<std::unique_ptr<typename PlaneRows<T>::Scratch>> scratch;
    for (const PlaneRows<T>& each : rows)
      scratch.push_back(std::make_unique<typename PlaneRows<T>::Scratch>(each));
    for (int64_t task = begin; task < end; ++task)
      for (size_t i = 0; i < rows.size(); ++i)
        rows[i].run(task / groups, task % groups, *scratch[i]);
  });
}

template <class T>
void depthwise_weights_planes(const ReduceConv& conv, const ParallelFor& parallel) {
  using A = accumulator_t<T>;
  const Gather &x = conv.patches, &y = conv.gradient;
  const PlaneBlock<T> block(std::span(&x, 1));
  int64_t hop = 0;
  const Runs runs = plane_runs(x, block, &hop);
  const int64_t filters = y.channels, size = x.tap_count * lanes<A>, width = x.grid.w;
  const T* const inputs = static_cast<const T*>(x.source);
  parallel(conv.groups, [&](int64_t begin, int64_t end) {
    Buffer<A> source(block.elements()), sums(filters * size);
    std::fill_n(source.get(), block.elements(), A(0));
    for (int64_t group = begin; group < end; ++group) {
      std::fill_n(sums.get(), filters * size, A(0));
      // The sums of a filter over a block.
      const auto add = [&](const T* gradient, int64_t rows, int64_t cols, A* to) {
        runs.for_each([&](const Run& run) {
          with_taps(run.taps, [&]<int taps>(std::integral_constant<int, taps>) {
            Vec<A> own[taps];
            for (int i = 0; i < taps; ++i) own[i] = load<A>(to + run.weight + i * hop);
            in_fours(0, rows, [&]<int count>(std::integral_constant<int, count>, int64_t row) {
              for (int64_t col = 0; col < cols; col += lanes<A>)
                with_reader<A>(std::min<int64_t>(lanes<A>, cols - col), [&](const auto& read) {
                  slide_reduce<count, taps, A>(
                      read, gradient + row * width + col, width,
                      source.get() + run.source + row * block.pitch() + col, block.pitch(), own);
                });
            });
            for (int i = 0; i < taps; ++i) store<A>(to + run.weight + i * hop, own[i]);
          });
        });
      };
      for (int64_t n = 0; n < x.images; ++n)
        for_each_block(
            block, x.grid, [&](int64_t d, int64_t h, int64_t w, int64_t rows, int64_t cols) {
              block.fill(inputs + n * x.strides.n + group * x.strides.c, d, h, w, source.get());
              for (int64_t filter = 0; filter < filters; ++filter)
                add(static_cast<const T*>(y.source) +
                        y.strides.at(n, group * filters + filter, d, h, w),
                    rows, cols, sums.get() + filter * size);
            });
      for (int64_t i = 0; i < filters * x.tap_count; ++i) {
        const Vec<A> lane_sums = load<A>(&sums[i * lanes<A>]);
        A sum = 0;
        for (int lane = 0; lane < lanes<A>; ++lane) sum += lane_sums[lane];
        static_cast<T*>(
            conv.weight)[group * conv.weight_group + i / x.tap_count * conv.weight_filter +
                         x.taps[i % x.tap_count].weight] = static_cast<T>(sum);
      }
    }
  });
}

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
