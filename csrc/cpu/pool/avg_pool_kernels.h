// Average pooling, both directions, with vectors; included by the translation unit of one
// instruction set only.
//
// nhwc: lanes are channels. forward sums the taps of a window, backward gathers the gradients of
// the windows over a pixel, so that nobody writes to another's memory. nchw with short adaptive
// windows: likewise, lanes are planes.
// nchw: a task is a row. Windows are products of one window per axis, so a row is summed in two
// steps: forward first adds the input rows of a row of windows, element by element, into a buffer
// (contiguous whatever the stride), then sums that buffer's windows along w; a margin of zeros on
// both sides of the buffer stands for the padding, so no window has to be clipped. backward is the
// transpose: it adds the rows of gradients over one input row, each divided by its window's
// divisor, into a buffer, then spreads that buffer along w.
// Sums are kept in the arithmetic type, in an order that no number of threads changes.
#pragma once

#include <algorithm>
#include <optional>
#include <type_traits>
#include <vector>

#include "cpu/pool/avg_pool.h"
#include "cpu/pool/pool_lanes.h"
#include "cpu/strides.h"

namespace cnnkern::cpu::CNNKERN_CPU_ISA {

/// Counts n, c, z, y up from a task's number: a division would cost as much as a short row.
struct RowCounter {
  int64_t rows, planes, channels;
  int64_t n, c, z, y;

  RowCounter(int64_t task, int64_t channels_, const Extent3& extent)
      : rows(extent.h),
        planes(extent.d),
        channels(channels_),
        n(task / (rows * planes * channels)),
        c(task / (rows * planes) % channels),
        z(task / rows % planes),
        y(task % rows) {}

  void advance() {
    if (++y < rows) return;
    y = 0;
    if (++z < planes) return;
    z = 0;
    if (++c < channels) return;
    c = 0;
    ++n;
  }
};

/// Divides vectors; by a product where the reciprocal is exact, which a power of two's is.
template <class A>
class Divisor {
 public:
  explicit Divisor(A value) : value_(broadcast(value)) {
    const auto whole = static_cast<int64_t>(value < most ? value : 0);
    exact_ = whole > 0 && (whole & (whole - 1)) == 0;
    if (exact_) value_ = broadcast(1 / value);
  }
  Vec<A> divides(Vec<A> x) const { return exact_ ? x * value_ : x / value_; }

 private:
  static constexpr A most = 1 << 30;
  Vec<A> value_;
  bool exact_;
};

template <class T>
class AvgPool {
  using A = accumulator_t<T>;

  // What a window gives to a pixel.
  struct Share {
    const T* from;
    Divisor<A> divisor;
  };

 public:
  AvgPool(const AvgPoolProblem& problem, const AvgPoolTensors& tensors)
      : p(problem),
        input_(static_cast<T*>(tensors.input)),
        output_(static_cast<T*>(tensors.output)),
        in_(dense_strides(p.layout, p.c, p.input)),
        out_(dense_strides(p.layout, p.c, p.output)),
        stride_(p.adaptive || p.output.w == 1 ? 1 : p.stride.w),
        margin_(p.adaptive ? 0 : p.pad.w),
        by_pixel_(p.layout == Layout::nhwc || (p.adaptive && p.input.w < lanes<A> * p.output.w)),
        counts_(p.output.w + lanes<A>, A(1)) {
    for (int axis = 0; axis < 3; ++axis) {  // here, since each takes a division or more
      for (int64_t o = 0; o < p.output[axis]; ++o) windows_[axis].push_back(p.window_at(axis, o));
      if (p.direction == AvgPoolDirection::backward)
        for (int64_t i = 0; i < p.input[axis]; ++i) over_[axis].push_back(p.windows_over(axis, i));
    }
    if (p.divisor == 0)
      for (int64_t x = 0; x < p.output.w; ++x) counts_[x] = static_cast<A>(windows_[2][x].count);
    if (p.adaptive) return;
    // Later taps of the window meet no input from any of the windows: they need no buffer.
    taps_ = std::min(p.window.w, (p.input.w + margin_ + p.dilation.w - 1) / p.dilation.w);
  }

  void run(const ParallelFor& parallel) const {
    const bool forward = p.direction == AvgPoolDirection::forward;
    const Extent3& made = forward ? p.output : p.input;
    const int64_t channels = p.layout == Layout::nhwc ? 1
                             : by_pixel_              ? (p.c + lanes<A> - 1) / lanes<A>
                                                      : p.c;
    parallel(p.n * channels * made.d * made.h, [&](int64_t begin, int64_t end) {
      Buffer<A> row(by_pixel_ ? 0 : row_elements()), sums(by_pixel_ ? 0 : p.output.w + lanes<A>);
      std::fill_n(row.get(), by_pixel_ ? 0 : row_elements(), A(0));
      std::vector<int64_t> offsets;
      std::vector<Share> shares;
      RowCounter at(begin, channels, made);
      for (int64_t task = begin; task < end; ++task, at.advance()) {
        if (by_pixel_ && forward) sum_pixels(at, offsets);
        else if (by_pixel_) gather_pixels(at, shares);
        else if (forward) sum_row(at, row.get());
        else spread_row(at, row.get(), sums.get());
      }
    });
  }

 private:
  // A row of the input between its margins, and what the last vector of windows touches.
  int64_t row_elements() const {
    const int64_t reach = (p.output.w + lanes<A>)*stride_ + taps_ * p.dilation.w;
    return std::max(margin_ + p.input.w, reach) + lanes<A>;
  }

  // The divisor of a row of windows without its axis w, which counts_ has.
  A rows_of(int64_t z, int64_t y) const {
    return static_cast<A>(p.divisor_of(windows_[0][z].count * windows_[1][y].count));
  }

  int64_t step(int axis) const { return p.adaptive ? 1 : p.dilation[axis]; }

  // body(offset) for each tap along d and h of a row of windows.
  template <class Body>
  void for_each_tap(const RowCounter& at, Body&& body) const {
    const AvgWindow d = windows_[0][at.z], h = windows_[1][at.y];
    for (int64_t t = 0; t < d.taps; ++t)
      for (int64_t r = 0; r < h.taps; ++r)
        body((d.begin + t * step(0)) * in_.space.d + (h.begin + r * step(1)) * in_.space.h);
  }

  // body(offset of a row of windows, its part of the divisor) for those over an input row.
  template <class Body>
  void for_each_row_over(const RowCounter& at, Body&& body) const {
    const WindowRange zs = over_[0][at.z], ys = over_[1][at.y];
    for (int64_t z = zs.first; z < zs.end; ++z)
      for (int64_t y = ys.first; y < ys.end; ++y)
        if (p.covers(0, z, at.z) && p.covers(1, y, at.y))
          body(z * out_.space.d + y * out_.space.h, rows_of(z, y));
  }

  // ------------------------------------------------------------------------------------------------
  // nhwc

  // body(first channel, vectors, lanes) until all channels of the task are done: in nhwc all of an
  // image, several vectors at a time where there are so many, then one, whose lanes are all there
  // or not; in nchw a vector of planes.
  template <class Body>
  void for_each_channels(int64_t task, Body&& body) const {
    constexpr std::integral_constant<int, 1> one;
    if (p.layout == Layout::nchw) {
      const int64_t c = task * lanes<A>;
      const bool forward = p.direction == AvgPoolDirection::forward;
      return body(c, one,
                  PlaneLanes<A>{std::min<int64_t>(lanes<A>, p.c - c), forward ? in_.c : out_.c,
                                forward ? out_.c : in_.c});
    }
    int64_t c = 0;
    const Lanes<A, true> all;
    for (; c + 4 * lanes<A> <= p.c; c += 4 * lanes<A>)
      body(c, std::integral_constant<int, 4>(), all);
    for (; c + lanes<A> <= p.c; c += lanes<A>) body(c, one, all);
    if (c < p.c) body(c, one, Lanes<A, false>{p.c - c});
  }

  void sum_pixels(const RowCounter& at, std::vector<int64_t>& offsets) const {
    const A rows = rows_of(at.z, at.y);
    const int64_t pitch = step(2) * in_.space.w;
    offsets.clear();
    for_each_tap(at, [&](int64_t offset) { offsets.push_back(offset); });
    for (int64_t x = 0; x < p.output.w; ++x) {
      const AvgWindow w = windows_[2][x];
      const Divisor<A> divisor(rows * counts_[x]);
      const T* const image = input_ + at.n * in_.n + w.begin * in_.space.w;
      T* const to = output_ + out_.at(at.n, 0, at.z, at.y, x);
      for_each_channels(at.c, [&]<int vectors>(int64_t c, std::integral_constant<int, vectors>,
                                               const auto& part) {
        Vec<A> sums[vectors] = {};
        std::optional<BlockedSum<A, vectors>> blocks;  // few windows have one
        int64_t added = 0;
        for (const int64_t offset : offsets) {
          const T* from = image + offset + c * in_.c;
          for (int64_t s = 0; s < w.taps;) {
            const int64_t end = std::min(s + sum_block, w.taps);
            added += end - s;
            for (; s < end; ++s, from += pitch)
              for (int v = 0; v < vectors; ++v) sums[v] += part.load(from + v * lanes<A>);
            if (added < sum_block) continue;
            if (!blocks) blocks.emplace();
            blocks->add(sums);
            added = 0;
          }
        }
        if (blocks) blocks->finish(sums);
        for (int v = 0; v < vectors; ++v)
          part.store(to + c * out_.c + v * lanes<A>, divisor.divides(sums[v]));
      });
    }
  }

  void gather_pixels(const RowCounter& at, std::vector<Share>& shares) const {
    const T* const image = output_ + at.n * out_.n;
    for (int64_t i = 0; i < p.input.w; ++i) {
      const WindowRange xs = over_[2][i];
      T* const to = input_ + in_.at(at.n, 0, at.z, at.y, i);
      shares.clear();
      for_each_row_over(at, [&](int64_t offset, A rows) {
        for (int64_t x = xs.first; x < xs.end; ++x)
          if (p.covers(2, x, i))
            shares.push_back({image + offset + x * out_.space.w, Divisor<A>(rows * counts_[x])});
      });
      for_each_channels(at.c, [&]<int vectors>(int64_t c, std::integral_constant<int, vectors>,
                                               const auto& part) {
        Vec<A> sums[vectors] = {};
        for (const Share& share : shares)
          for (int v = 0; v < vectors; ++v)
            sums[v] += share.divisor.divides(part.load(share.from + c * out_.c + v * lanes<A>));
        for (int v = 0; v < vectors; ++v) part.store(to + c * in_.c + v * lanes<A>, sums[v]);
      });
    }
  }

  // ------------------------------------------------------------------------------------------------
  // nchw

  static Vec<A> load_lanes(const T* from, int64_t count) {
    return count == lanes<A> ? load<A>(from) : load_partial<A>(from, count);
  }
  static void store_lanes(T* to, Vec<A> value, int64_t count) {
    if (count == lanes<A>) store<A>(to, value);
    else store_partial<A>(to, value, count);
  }

  // to[i] += value(i), a vector at a time; `value` gets the index and the number of lanes.
  template <class Value>
  static void add_row(A* to, int64_t size, Value&& value) {
    for (int64_t i = 0; i < size; i += lanes<A>)
      store<A>(to + i, load<A>(to + i) + value(i, std::min<int64_t>(lanes<A>, size - i)));
  }

  static void store_row(T* to, const A* from, int64_t size) {
    for (int64_t i = 0; i < size; i += lanes<A>)
      store_lanes(to + i, load<A>(from + i), std::min<int64_t>(lanes<A>, size - i));
  }

  template <class U>
  static A sum_of(const U* from, int64_t size) {
    constexpr int64_t step = 4 * lanes<A>;
    Vec<A> sums[4] = {};
    BlockedSum<A, 4> blocks;
    int64_t i = 0;
    for (; i + sum_block * step <= size; blocks.add(sums))
      for (const int64_t end = i + sum_block * step; i < end; i += step)
        for (int v = 0; v < 4; ++v) sums[v] += load<A>(from + i + v * lanes<A>);
    for (; i + step <= size; i += step)
      for (int v = 0; v < 4; ++v) sums[v] += load<A>(from + i + v * lanes<A>);
    for (; i < size; i += lanes<A>)
      sums[0] += load_partial<A>(from + i, std::min<int64_t>(lanes<A>, size - i));
    blocks.finish(sums);
    return sum_of_lanes<A>((sums[0] + sums[1]) + (sums[2] + sums[3]));
  }

  // The windows of a row of outputs, whose rows are summed already.
  template <class U>
  void sum_ranges(const U* row, A rows, T* to) const {
    for (int64_t x = 0; x < p.output.w; ++x) {
      const AvgWindow w = windows_[2][x];
      to[x] = static_cast<T>(sum_of(row + w.begin, w.taps) / (rows * counts_[x]));
    }
  }

  // Elements `stride_` apart, nothing read beyond the last one.
  Vec<A> load_strided(const A* from) const {
    if (stride_ == 1) return load<A>(from);
    if (stride_ == 2)
      return every_second(load<A>(from), load<A>(from + lanes<A> - 1),
                          std::make_index_sequence<lanes<A>>());
    Vec<A> result;
    for (int lane = 0; lane < lanes<A>; ++lane) result[lane] = from[lane * stride_];
    return result;
  }

  // Of two vectors, the second of which begins at element lanes − 1.
  template <size_t... lane>
  static Vec<A> every_second(Vec<A> low, Vec<A> high, std::index_sequence<lane...>) {
    return __builtin_shufflevector(low, high, (2 * lane < lanes<A> ? 2 * lane : 2 * lane + 1)...);
  }

  void sum_row(const RowCounter& at, A* row) const {
    const T* const plane = input_ + at.n * in_.n + at.c * in_.c;
    T* const to = output_ + out_.at(at.n, at.c, at.z, at.y, 0);
    const A rows = rows_of(at.z, at.y);
    if (p.adaptive && windows_[0][at.z].taps * windows_[1][at.y].taps == 1) {
      for_each_tap(at, [&](int64_t offset) { sum_ranges(plane + offset, rows, to); });
      return;
    }
    std::fill_n(row + margin_, p.input.w, A(0));
    for_each_tap(at, [&](int64_t offset) {
      add_row(row + margin_, p.input.w,
              [&](int64_t i, int64_t count) { return load_lanes(plane + offset + i, count); });
    });
    if (p.adaptive) return sum_ranges(row, rows, to);
    for (int64_t x = 0; x < p.output.w; x += lanes<A>) {
      Vec<A> sums = {};
      for (int64_t s = 0; s < taps_; ++s)
        sums += load_strided(row + x * stride_ + s * p.dilation.w);
      store_lanes(to + x, sums / (broadcast<A>(rows) * load<A>(&counts_[x])),
                  std::min<int64_t>(lanes<A>, p.output.w - x));
    }
  }

  // A tap's share of a row of windows, to elements `stride_` apart. Beyond the windows sums are 0.
  void spread_tap(const A* sums, A* to) const {
    if (stride_ == 1)
      return add_row(to, p.output.w, [&](int64_t x, int64_t) { return load<A>(sums + x); });
    if (stride_ > 2) {
      for (int64_t x = 0; x < p.output.w; ++x) to[x * stride_] += sums[x];
      return;
    }
    constexpr auto sequence = std::make_index_sequence<lanes<A>>();
    for (int64_t x = 0; x < p.output.w; x += lanes<A>, to += 2 * lanes<A>) {
      const Vec<A> share = load<A>(sums + x);
      store<A>(to, load<A>(to) + with_zeros<0>(share, sequence));
      store<A>(to + lanes<A>, load<A>(to + lanes<A>) + with_zeros<1>(share, sequence));
    }
  }

  // The lower or upper half of x0 0 x1 0 ….
  template <int half, size_t... lane>
  static Vec<A> with_zeros(Vec<A> x, std::index_sequence<lane...>) {
    return __builtin_shufflevector(
        x, Vec<A>{}, (lane % 2 ? lanes<A> + lane : half * lanes<A> / 2 + lane / 2)...);
  }

  void spread_row(const RowCounter& at, A* row, A* sums) const {
    const T* const plane = output_ + at.n * out_.n + at.c * out_.c;
    std::fill_n(sums, p.output.w + lanes<A>, A(0));
    for_each_row_over(at, [&](int64_t offset, A rows) {
      add_row(sums, p.output.w, [&](int64_t x, int64_t count) {
        return load_lanes(plane + offset + x, count) / (broadcast<A>(rows) * load<A>(&counts_[x]));
      });
    });
    std::fill_n(row, margin_ + p.input.w, A(0));
    if (p.adaptive) {
      for (int64_t x = 0; x < p.output.w; ++x) {
        const Vec<A> share = broadcast(sums[x]);
        const AvgWindow w = windows_[2][x];
        int64_t s = 0;
        for (; s + lanes<A> <= w.taps; s += lanes<A>)
          store<A>(row + w.begin + s, load<A>(row + w.begin + s) + share);
        for (; s < w.taps; ++s) row[w.begin + s] += sums[x];
      }
    } else {
      for (int64_t s = 0; s < taps_; ++s) spread_tap(sums, row + s * p.dilation.w);
    }
    store_row(input_ + in_.at(at.n, at.c, at.z, at.y, 0), row + margin_, p.input.w);
  }

  const AvgPoolProblem& p;
  T* input_;
  T* output_;
  Strides in_, out_;
  int64_t stride_, margin_, taps_ = 0;  // along w
  bool by_pixel_;                       // lanes are channels, not windows along w
  std::vector<A> counts_;  // of the windows along w, then ones; only ones if a divisor is given
  std::vector<AvgWindow> windows_[3];
  std::vector<WindowRange> over_[3];  // the windows over each input position, in backward
};

/// A pooling whose one window is the whole input, as one of a single long row.
inline AvgPoolProblem flattened(AvgPoolProblem p) {
  for (int axis = 0; axis < 3; ++axis) {
    if (p.output[axis] != 1) return p;
    const AvgWindow window = p.window_at(axis, 0);
    const bool dense = p.adaptive || p.dilation[axis] == 1;
    if (!dense || window.begin != 0 || window.taps != p.input[axis]) return p;
  }
  p.divisor = p.uniform_divisor();
  p.adaptive = true;
  p.input = {1, 1, p.input.volume()};
  return p;
}

void avg_pool(const AvgPoolProblem& problem, const AvgPoolTensors& tensors,
              const ParallelFor& parallel) {
  const AvgPoolProblem flat = flattened(problem);
  dispatch(flat.dtype, [&]<class T>(T) { AvgPool<T>(flat, tensors).run(parallel); });
}

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
