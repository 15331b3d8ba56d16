// Average pooling, both directions, with vectors; included by the translation unit of one
// instruction set only.
//
// nhwc: lanes are channels. forward sums the taps of a window, backward gathers the gradients of
// the windows over a pixel, so that nobody writes to another's memory.
// nchw: a task is a row. Windows are products of one window per axis, so a row is summed in two
// steps: forward first adds the input rows of a row of windows, element by element, into a buffer
// (contiguous whatever the stride), then sums that buffer's windows along w; a margin of zeros on
// both sides of the buffer stands for the padding, so no window has to be clipped. backward is the
// transpose: it adds the rows of gradients over one input row, each divided by its window's
// divisor, into a buffer, then spreads that buffer along w.
// Sums are kept in the arithmetic type, in an order that no number of threads changes.
#pragma once

#include <algorithm>
#include <type_traits>
#include <vector>

#include "cpu/pool/avg_pool.h"
#include "cpu/simd.h"
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

template <class T>
class AvgPool {
  using A = accumulator_t<T>;

 public:
  AvgPool(const AvgPoolProblem& problem, const AvgPoolTensors& tensors)
      : p(problem),
        input_(static_cast<T*>(tensors.input)),
        output_(static_cast<T*>(tensors.output)),
        in_(dense_strides(p.layout, p.c, p.input)),
        out_(dense_strides(p.layout, p.c, p.output)),
        stride_(p.adaptive || p.output.w == 1 ? 1 : p.stride.w),
        margin_(p.adaptive ? 0 : p.pad.w),
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
    const bool nhwc = p.layout == Layout::nhwc, forward = p.direction == AvgPoolDirection::forward;
    const Extent3& made = forward ? p.output : p.input;
    const int64_t channels = nhwc ? 1 : p.c;
    parallel(p.n * channels * made.d * made.h, [&](int64_t begin, int64_t end) {
      Buffer<A> row(nhwc ? 0 : row_elements()), sums(nhwc ? 0 : p.output.w + lanes<A>);
      std::fill_n(row.get(), nhwc ? 0 : row_elements(), A(0));
      RowCounter at(begin, channels, made);
      for (int64_t task = begin; task < end; ++task, at.advance()) {
        if (nhwc && forward) sum_pixels(at);
        else if (nhwc) gather_pixels(at);
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

  // body(first channel, vectors, lanes of the last vector) until all channels are done.
  template <class Body>
  void for_each_channels(Body&& body) const {
    int64_t c = 0;
    for (; c + 4 * lanes<A> <= p.c; c += 4 * lanes<A>)
      body(c, std::integral_constant<int, 4>(), lanes<A>);
    for (; c < p.c; c += lanes<A>)
      body(c, std::integral_constant<int, 1>(), std::min<int64_t>(lanes<A>, p.c - c));
  }

  static Vec<A> load_lanes(const T* from, int64_t count) {
    return count == lanes<A> ? load<A>(from) : load_partial<A>(from, count);
  }
  static void store_lanes(T* to, Vec<A> value, int64_t count) {
    if (count == lanes<A>) store<A>(to, value);
    else store_partial<A>(to, value, count);
  }

  void sum_pixels(const RowCounter& at) const {
    const A rows = rows_of(at.z, at.y);
    const T* const image = input_ + at.n * in_.n;
    for (int64_t x = 0; x < p.output.w; ++x) {
      const AvgWindow w = windows_[2][x];
      const Vec<A> divisor = broadcast<A>(rows * counts_[x]);
      T* const to = output_ + out_.at(at.n, 0, at.z, at.y, x);
      for_each_channels(
          [&]<int vectors>(int64_t c, std::integral_constant<int, vectors>, int64_t count) {
            Vec<A> sums[vectors] = {};
            for_each_tap(at, [&](int64_t offset) {
              for (int64_t s = 0; s < w.taps; ++s) {
                const T* const from = image + offset + (w.begin + s * step(2)) * in_.space.w + c;
                for (int v = 0; v < vectors; ++v) sums[v] += load_lanes(from + v * lanes<A>, count);
              }
            });
            for (int v = 0; v < vectors; ++v)
              store_lanes(to + c + v * lanes<A>, sums[v] / divisor, count);
          });
    }
  }

  void gather_pixels(const RowCounter& at) const {
    const T* const image = output_ + at.n * out_.n;
    for (int64_t i = 0; i < p.input.w; ++i) {
      const WindowRange xs = over_[2][i];
      T* const to = input_ + in_.at(at.n, 0, at.z, at.y, i);
      for_each_channels(
          [&]<int vectors>(int64_t c, std::integral_constant<int, vectors>, int64_t count) {
            Vec<A> sums[vectors] = {};
            for_each_row_over(at, [&](int64_t offset, A rows) {
              for (int64_t x = xs.first; x < xs.end; ++x) {
                if (!p.covers(2, x, i)) continue;
                const Vec<A> divisor = broadcast<A>(rows * counts_[x]);
                const T* const from = image + offset + x * out_.space.w + c;
                for (int v = 0; v < vectors; ++v)
                  sums[v] += load_lanes(from + v * lanes<A>, count) / divisor;
              }
            });
            for (int v = 0; v < vectors; ++v) store_lanes(to + c + v * lanes<A>, sums[v], count);
          });
    }
  }

  // ------------------------------------------------------------------------------------------------
  // nchw

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
    Vec<A> sums = {};
    int64_t i = 0;
    for (; i + lanes<A> <= size; i += lanes<A>) sums += load<A>(from + i);
    A sum = 0;
    for (int lane = 0; lane < lanes<A>; ++lane) sum += sums[lane];
    for (; i < size; ++i) sum += static_cast<A>(from[i]);
    return sum;
  }

  // The windows of a row of outputs, whose rows are summed already.
  template <class U>
  void sum_ranges(const U* row, A rows, T* to) const {
    for (int64_t x = 0; x < p.output.w; ++x) {
      const AvgWindow w = windows_[2][x];
      to[x] = static_cast<T>(sum_of(row + w.begin, w.taps) / (rows * counts_[x]));
    }
  }

  // Elements `stride_` apart.
  Vec<A> load_strided(const A* from) const {
    if (stride_ == 1) return load<A>(from);
    Vec<A> result;
    for (int lane = 0; lane < lanes<A>; ++lane) result[lane] = from[lane * stride_];
    return result;
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
        const AvgWindow w = windows_[2][x];
        for (int64_t s = 0; s < w.taps; ++s) row[w.begin + s] += sums[x];
      }
    } else {
      for (int64_t s = 0; s < taps_; ++s) {
        A* const to = row + s * p.dilation.w;
        if (stride_ == 1)
          add_row(to, p.output.w, [&](int64_t x, int64_t) { return load<A>(sums + x); });
        else
          for (int64_t x = 0; x < p.output.w; ++x) to[x * stride_] += sums[x];
      }
    }
    store_row(input_ + in_.at(at.n, at.c, at.z, at.y, 0), row + margin_, p.input.w);
  }

  const AvgPoolProblem& p;
  T* input_;
  T* output_;
  Strides in_, out_;
  int64_t stride_, margin_, taps_ = 0;  // along w
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
