// Depthwise convolution in nchw on planes that fit a cache: lanes are channels, as in nhwc.
//
// Rows end within vectors along w, the more often the shorter they are. So the planes of a vector
// of channels are transposed, square by square in registers, into a copy [pixel][lane] with zeros
// around it; there filters slide along w, seven pixels at a time, which divides the widths of most
// small planes; and the sums are transposed back. dgrad's parity classes meet in the sums.
// wgrad: a task is a vector of channels, summed over all images, rows of outputs in pairs.
// Memory: the packed weights; of a thread, the copy and the sums, 512 KiB each at most.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "cpu/conv/depthwise.h"

namespace cnnkern::cpu::CNNKERN_CPU_ISA {

/// Whether the pixels of a vector of channels stay in the caches.
inline bool small_planes(const Extent3& extent) {
  constexpr int64_t most_bytes = 512 << 10;
  int64_t bytes = vector_bytes;
  for (int axis = 0; axis < 3; ++axis) {
    bytes *= extent[axis];
    if (bytes > most_bytes) return false;
  }
  return true;
}

/// The planes of a vector of channels as [pixel][lane], with the zeros that gathers read.
template <class T>
class LanePlanes {
  using A = accumulator_t<T>;

 public:
  explicit LanePlanes(std::span<const Gather> gathers) : extent_(gathers[0].extent) {
    padded_ = extent_;
    for (int axis = 0; axis < 3; ++axis) {
      int64_t back = 0;
      for (const Gather& g : gathers) {
        if (g.tap_count == 0) continue;
        const int64_t last = (g.grid[axis] - 1) * g.step[axis] + g.highest[axis];
        front_[axis] = std::max(front_[axis], -g.lowest[axis]);
        back = std::max(back, last + 1 - extent_[axis]);
      }
      padded_[axis] += front_[axis] + back;
    }
  }

  bool small() const { return small_planes(padded_); }
  int64_t elements() const { return padded_.volume() * lanes<A>; }

  /// Where a pixel lies, beside the plane too, from `zero()` on.
  int64_t at(int64_t d, int64_t h, int64_t w) const {
    return ((d * padded_.h + h) * padded_.w + w) * lanes<A>;
  }
  int64_t zero() const { return at(front_.d, front_.h, front_.w); }

  /// Runs of taps along w, and how far apart their weights lie.
  Runs runs(const Gather& g, int64_t* weight_pitch) const {
    Runs result;
    const TapsAlongW taps(g);
    for (int64_t row = 0; row < g.tap_count; row += taps.count)
      for_each_run(taps.count, taps.hop, [&](int64_t first, int64_t count) {
        const Tap& tap = g.taps[row + first];
        result.add({at(tap.d, tap.h, tap.w), (row + first) * lanes<A>, count});
      });
    *weight_pitch = taps.hop * lanes<A>;
    return result;
  }

  /// Copies a plane for each lane. Around them `to` holds zeros.
  void fill(const T* planes, int64_t plane_stride, A* to) const {
    const int64_t pixels = extent_.volume(), row = extent_.w;
    int64_t w = 0, h = 0;
    A* place = to + zero();
    for (int64_t pixel = 0; pixel < pixels; pixel += lanes<A>) {
      const int64_t count = std::min<int64_t>(lanes<A>, pixels - pixel);
      Vec<A> square[lanes<A>];
      for (int i = 0; i < lanes<A>; ++i) {
        const T* const from = planes + i * plane_stride + pixel;
        square[i] = count == lanes<A> ? load<A>(from) : load_partial<A>(from, count);
      }
      transpose_square<A>(square);
      for (int64_t i = 0; i < count; ++i, place += lanes<A>) {
        store<A>(place, square[i]);
        if (++w < row) continue;
        w = 0;
        place += (padded_.w - row) * lanes<A>;
        if (++h < extent_.h) continue;
        h = 0;
        place += (padded_.h - extent_.h) * padded_.w * lanes<A>;
      }
    }
  }

 private:
  Extent3 extent_, padded_, front_{0, 0, 0};
};

template <class T>
class DepthwiseSmallPlanes {
  using A = accumulator_t<T>;
  static constexpr int block = 7;  // pixels

 public:
  explicit DepthwiseSmallPlanes(const GatherClasses& all)
      : all_(all), channels_(all.parts[0].groups), planes_(gathers_of(all.parts)) {
    for (const GatherConv& conv : all.parts) {
      int64_t pitch = 0;
      runs_.push_back(planes_.runs(conv.gather, &pitch));
      weight_pitch_.push_back(pitch);
      weights_.push_back(pack_channels<T>(conv, channels_));
    }
  }

  static bool suits(const GatherClasses& all) {
    const GatherConv& conv = all.parts[0];
    return conv.gather.channels == 1 && conv.filters == 1 && conv.groups >= lanes<A> &&
           small_planes(all.extent) && LanePlanes<T>(gathers_of(all.parts)).small();
  }

  void run(const ParallelFor& parallel) const {
    const GatherConv& first = all_.parts[0];
    const Strides& from = first.gather.strides;
    const int64_t blocks = channels_.count;
    parallel(first.gather.images * blocks, [&](int64_t begin, int64_t end) {
      Buffer<A> source(planes_.elements()), sums(all_.extent.volume() * lanes<A>);
      std::fill_n(source.get(), planes_.elements(), A(0));
      for (int64_t task = begin; task < end; ++task) {
        const int64_t n = task / blocks, v = task % blocks, c = channels_.first(v);
        planes_.fill(static_cast<const T*>(first.gather.source) + n * from.n + c * from.c, from.c,
                     source.get());
        for (size_t part = 0; part < all_.parts.size(); ++part)
          filter(part, v, source.get() + planes_.zero(), sums.get());
        finish(n, c, sums.get());
      }
    });
  }

 private:
  void filter(size_t part, int64_t v, const A* source, A* sums) const {
    const GatherConv& conv = all_.parts[part];
    const Gather& g = conv.gather;
    const A* const weights = weights_[part]->get() + v * g.tap_count * lanes<A>;
    const Vec<A> bias =
        conv.bias ? load<A>(static_cast<const T*>(conv.bias) + channels_.first(v)) : Vec<A>{};
    const Extent3& classes = all_.classes;
    const int64_t index = static_cast<int64_t>(part), pitch = g.step.w * lanes<A>;
    const int64_t first_w = index % classes.w, first_h = index / classes.w % classes.h,
                  first_d = index / classes.w / classes.h;
    const auto compute = [&]<int pixels>(std::integral_constant<int, pixels>, const A* from,
                                         A* to) {
      Vec<A> own[1][pixels];
#pragma GCC unroll 8
      for (int i = 0; i < pixels; ++i) own[0][i] = bias;
      slide_all(
          runs_[part],
          [&](const Run& run, int, int at) { return load<A>(from + run.source + at * pitch); },
          weights, weight_pitch_[part], 0, own);
#pragma GCC unroll 8
      for (int i = 0; i < pixels; ++i) store<A>(to + i * classes.w * lanes<A>, own[0][i]);
    };
    for (int64_t d = 0; d < g.grid.d; ++d)
      for (int64_t h = 0; h < g.grid.h; ++h) {
        const A* const from = source + planes_.at(d * g.step.d, h * g.step.h, 0);
        A* const to =
            sums +
            (((d * classes.d + first_d) * all_.extent.h + h * classes.h + first_h) * all_.extent.w +
             first_w) *
                lanes<A>;
        in_blocks<block>(g.grid.w, [&](auto pixels, int64_t w) {
          compute(pixels, from + w * pitch, to + w * classes.w * lanes<A>);
        });
      }
  }

  // The sums to the destination.
  void finish(int64_t n, int64_t c, const A* sums) const {
    const Epilogue<A, T> epilogue(all_.parts[0]);
    const Strides& strides = all_.parts[0].dest_strides;
    const int64_t pixels = all_.extent.volume();
    for (int64_t pixel = 0; pixel < pixels; pixel += lanes<A>) {
      const int64_t count = std::min<int64_t>(lanes<A>, pixels - pixel);
      Vec<A> square[lanes<A>];
      for (int i = 0; i < lanes<A>; ++i)
        square[i] = i < count ? load<A>(sums + (pixel + i) * lanes<A>) : Vec<A>{};
      transpose_square<A>(square);
      for (int64_t i = 0; i < lanes<A>; ++i)
        epilogue.store(n * strides.n + (c + i) * strides.c + pixel, square[i], count);
    }
  }

  const GatherClasses& all_;
  ChannelVectors<A> channels_;
  LanePlanes<T> planes_;
  std::vector<Runs> runs_;  // of each part
  std::vector<int64_t> weight_pitch_;
  std::vector<std::unique_ptr<Buffer<A>>> weights_;
};

template <class T>
class DepthwiseWeightsSmallPlanes {
  using A = accumulator_t<T>;

 public:
  explicit DepthwiseWeightsSmallPlanes(const ReduceConv& conv)
      : conv_(conv),
        channels_(conv.groups),
        inputs_(std::span(&conv.patches, 1)),
        gradients_(std::span(&conv.gradient, 1)),
        runs_(inputs_.runs(conv.patches, &weight_pitch_)) {}

  static bool suits(const ReduceConv& conv) {
    return conv.patches.channels == 1 && conv.gradient.channels == 1 && conv.groups >= lanes<A> &&
           LanePlanes<T>(std::span(&conv.patches, 1)).small() &&
           LanePlanes<T>(std::span(&conv.gradient, 1)).small();
  }

  void run(const ParallelFor& parallel) const {
    const Gather &x = conv_.patches, &y = conv_.gradient;
    parallel(channels_.count, [&](int64_t begin, int64_t end) {
      Buffer<A> inputs(inputs_.elements()), gradients(gradients_.elements());
      Buffer<A> sums(x.tap_count * lanes<A>);
      std::fill_n(inputs.get(), inputs_.elements(), A(0));
      for (int64_t v = begin; v < end; ++v) {
        const int64_t c = channels_.first(v);
        std::fill_n(sums.get(), x.tap_count * lanes<A>, A(0));
        for (int64_t n = 0; n < x.images; ++n) {
          inputs_.fill(static_cast<const T*>(x.source) + n * x.strides.n + c * x.strides.c,
                       x.strides.c, inputs.get());
          gradients_.fill(static_cast<const T*>(y.source) + n * y.strides.n + c * y.strides.c,
                          y.strides.c, gradients.get());
          runs_.for_each([&](const Run& run) {
            with_taps(run.taps, [&](auto taps) {
              add(taps, run, inputs.get() + inputs_.zero(), gradients.get(), sums.get());
            });
          });
        }
        for (int64_t t = 0; t < x.tap_count; ++t)
          for (int64_t i = 0; i < lanes<A>; ++i)
            static_cast<T*>(conv_.weight)[(c + i) * conv_.weight_group + x.taps[t].weight] =
                static_cast<T>(sums[t * lanes<A> + i]);
      }
    });
  }

 private:
  // An image's share in the sums of a run.
  template <int taps>
  void add(std::integral_constant<int, taps>, const Run& run, const A* input, const A* gradient,
           A* sums) const {
    const Gather& x = conv_.patches;
    const LaneReader<A, true> read{lanes<A>};
    const int64_t pitch = x.step.w * lanes<A>;
    Vec<A> even[taps] = {}, odd[taps] = {};  // rows: sums wait for each other's products
    for (int64_t d = 0; d < x.grid.d; ++d)
      for (int64_t h = 0; h < x.grid.h; h += 2) {
        const A* const upper = input + run.source + inputs_.at(d * x.step.d, h * x.step.h, 0);
        const A* const lower = upper + inputs_.at(0, x.step.h, 0);
        const A* const factor = gradient + gradients_.at(d, h, 0);
        const bool pair = h + 1 < x.grid.h;
        in_fours(0, x.grid.w, [&]<int pixels>(std::integral_constant<int, pixels>, int64_t w) {
          const auto row = [&](const A* factors, const A* from, Vec<A>(&own)[taps]) {
            slide_reduce<pixels, taps, A>(read, factors + w * lanes<A>, lanes<A>, from + w * pitch,
                                          pitch, own);
          };
          row(factor, upper, even);
          if (pair) row(factor + gradients_.at(0, 1, 0), lower, odd);
        });
      }
    for (int i = 0; i < taps; ++i) {
      A* const to = sums + run.weight + i * weight_pitch_;
      store<A>(to, load<A>(to) + (even[i] + odd[i]));
    }
  }

  const ReduceConv& conv_;
  ChannelVectors<A> channels_;
  LanePlanes<T> inputs_, gradients_;
  int64_t weight_pitch_ = 0;
  Runs runs_;
};

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
