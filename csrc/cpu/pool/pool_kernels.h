// Max pooling forward with vectors; included by the translation unit of one instruction set only.
//
// nhwc: lanes are channels; each tap is one load for all of them. nchw: lanes are outputs along w;
// where every tap of a vector of windows lies inside the row, stride 1 is one load a tap, stride 2
// two loads and a shuffle, other strides read lane by lane; the windows at the borders are done one
// at a time. Where only the maxima are wanted, those of the columns that the windows cover come
// first, in a row between margins of −∞, then those of the row: no window is at a border. Adaptive
// windows in nchw: lanes are planes, read element by element. Values are compared in the arithmetic
// type, beside names of their taps as integers as wide: their positions, or where offsets
// are saved the taps' numbers. A task is a row of outputs of one image (nhwc), of one channel
// (nchw) or of a vector of them (adaptive).
#pragma once

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "cpu/pool/max_pool.h"
#include "cpu/pool/pool_lanes.h"
#include "cpu/strides.h"

namespace cnnkern::cpu::CNNKERN_CPU_ISA {

// The first tap with start + tap·dilation >= 0, and the end of those inside. Dilation is 1 almost
// always, and a division costs as much as a small window.
inline int64_t first_tap(int64_t start, int64_t dilation) {
  if (start >= 0) return 0;
  return dilation == 1 ? -start : (-start + dilation - 1) / dilation;
}
inline int64_t end_tap(int64_t start, int64_t dilation, int64_t taps, int64_t size) {
  if (start >= size) return 0;
  return std::min(taps, dilation == 1 ? size - start : (size - 1 - start) / dilation + 1);
}

/// One window along one axis: tap t reads start + t · dilation, taps [first, end) are inside.
struct PoolWindow {
  int64_t start, first, end;
};

// Here, since each takes divisions.
inline std::vector<PoolWindow> strided_windows(const PoolProblem& p, int axis) {
  std::vector<PoolWindow> windows;
  for (int64_t o = 0; o < p.output[axis]; ++o) {
    const int64_t start = o * p.stride[axis] - p.pad[axis];
    windows.push_back({start, first_tap(start, p.dilation[axis]),
                       end_tap(start, p.dilation[axis], p.window[axis], p.input[axis])});
  }
  return windows;
}

inline std::vector<PoolWindow> adaptive_windows(const PoolProblem& p, int axis) {
  std::vector<PoolWindow> windows;
  const int64_t size = p.input[axis], count = p.output[axis];
  for (int64_t o = 0; o < count; ++o) {
    const int64_t start = o * size / count;
    windows.push_back({start, 0, ((o + 1) * size + count - 1) / count - start});
  }
  return windows;
}

template <class T>
class MaxPoolForward {
  using A = accumulator_t<T>;
  using Index = std::conditional_t<sizeof(A) == 4, int32_t, int64_t>;
  static constexpr A nothing = -std::numeric_limits<A>::infinity();

  // The maximum so far of a vector of windows, and where it was found.
  struct Best {
    Vec<A> value;
    Mask<A> index;

    void take(Vec<A> v, Mask<A> at) { take_greater<A>(v, at, value, index); }
  };

 public:
  /// Adaptive windows have no stride or window in the problem, and dilation 1.
  MaxPoolForward(const PoolProblem& problem, const PoolTensors& tensors, bool adaptive)
      : p(problem),
        input_(static_cast<const T*>(tensors.input)),
        output_(static_cast<T*>(tensors.output)),
        indices_(tensors.indices),
        offsets_(tensors.offsets),
        moves_(offsets_ ? 0 : 1),
        name_step_(offsets_ ? 1 : p.dilation.w),
        in_(dense_strides(p.layout, p.c, p.input)),
        out_(dense_strides(p.layout, p.c, p.output)),
        by_channel_(p.layout == Layout::nhwc || adaptive) {
    for (int axis = 0; axis < 3; ++axis)
      windows_[axis] = adaptive ? adaptive_windows(p, axis) : strided_windows(p, axis);
  }

  void run(const ParallelFor& parallel) const {
    const int64_t rows = p.output.d * p.output.h;
    const int64_t channels = p.layout == Layout::nhwc ? 1
                             : by_channel_            ? (p.c + lanes<A> - 1) / lanes<A>
                                                      : p.c;
    parallel(p.n * channels * rows, [&](int64_t begin, int64_t end) {
      int64_t y = begin % p.output.h, z = begin / p.output.h % p.output.d;
      int64_t c = begin / rows % channels, n = begin / rows / channels;
      const auto advance = [&] {  // a division would cost as much as a short row
        if (++y < p.output.h) return;
        y = 0;
        if (++z < p.output.d) return;
        z = 0;
        if (++c < channels) return;
        c = 0;
        ++n;
      };
      const bool values = !by_channel_ && !indices_ && !offsets_;
      Buffer<A> columns(values ? column_elements() : 0);
      if (values) std::fill_n(columns.get(), column_elements(), nothing);
      for (int64_t task = begin; task < end; ++task, advance()) {
        const PoolWindow &d = windows_[0][z], &h = windows_[1][y];
        Row row = {input_ + n * in_.n,
                   out_.at(n, 0, z, y, 0),
                   d.start,
                   h.start,
                   d.first,
                   d.end,
                   h.first,
                   h.end};
        if (by_channel_) {
          for (int64_t x = 0; x < p.output.w; ++x) pool_channels(row, x, c);
        } else {
          row.input += c * in_.c;
          row.output += c * out_.c;
          if (values) pool_values(row, columns.get());
          else pool_row(row);
        }
      }
    });
  }

 private:
  // One row of windows: its corner along d and h, and the taps [t0, t1) × [r0, r1) inside.
  struct Row {
    const T* input;
    int64_t output, d, h, t0, t1, r0, r1;
  };

  // The name of what would be the first tap of a row of taps, if the window began at w = 0.
  int64_t name_of_row(const Row& row, int64_t t, int64_t r) const {
    if (offsets_) return (t * p.window.h + r) * p.window.w;
    return ((row.d + t * p.dilation.d) * p.input.h + row.h + r * p.dilation.h) * p.input.w;
  }

  // body(input row, its name) for each row of taps.
  template <class Body>
  void for_each_tap_row(const Row& row, Body&& body) const {
    for (int64_t t = row.t0; t < row.t1; ++t)
      for (int64_t r = row.r0; r < row.r1; ++r) {
        const int64_t d = row.d + t * p.dilation.d, h = row.h + r * p.dilation.h;
        body(row.input + d * in_.space.d + h * in_.space.h, name_of_row(row, t, r));
      }
  }

  // A row of the input between its margins, and what the last vector of windows touches.
  int64_t column_elements() const {
    const int64_t reach = (p.output.w + lanes<A>)*p.stride.w + p.footprint(2);
    return std::max(p.pad.w + p.input.w, reach) + 2 * lanes<A>;
  }

  // The maxima of a row of windows without their positions; `columns` is −∞ beside the input.
  void pool_values(const Row& row, A* columns) const {
    for (int64_t w = 0; w < p.input.w; w += lanes<A>) {
      const int64_t count = std::min<int64_t>(lanes<A>, p.input.w - w);
      Vec<A> best = broadcast(nothing);
      for_each_tap_row(row, [&](const T* from, int64_t) {
        best = greater<A>(count == lanes<A> ? load<A>(from + w) : load_partial<A>(from + w, count),
                          best);
      });
      if (count < lanes<A>) best = first_lanes<A>(count) ? best : broadcast(nothing);
      store<A>(columns + p.pad.w + w, best);
    }
    for (int64_t x = 0; x < p.output.w; x += lanes<A>) {
      Vec<A> best = broadcast(nothing);
      for (int64_t s = 0; s < p.window.w; ++s)
        best = greater<A>(load_every(columns + x * p.stride.w + s * p.dilation.w), best);
      const int64_t count = std::min<int64_t>(lanes<A>, p.output.w - x);
      if (count == lanes<A>) store<A>(output_ + row.output + x, best);
      else store_partial<A>(output_ + row.output + x, best, count);
    }
  }

  // Elements p.stride.w apart.
  Vec<A> load_every(const A* from) const {
    constexpr auto sequence = std::make_index_sequence<lanes<A>>();
    if (p.stride.w == 1) return load<A>(from);
    if (p.stride.w == 2) return spread<2>(load<A>(from), load<A>(from + lanes<A> - 1), sequence);
    Vec<A> result;
    for (int lane = 0; lane < lanes<A>; ++lane) result[lane] = from[lane * p.stride.w];
    return result;
  }

  void store_best(int64_t at, const Best& best, int64_t count) const {
    const auto put = [&](const auto& part) {
      part.store(output_ + at, best.value);
      store_names(part, at, best.index);
    };
    if (count == lanes<A>) put(Lanes<A, true>());
    else put(Lanes<A, false>{count});
  }

  // Of a window without a tap inside −1, whose low byte is 255.
  template <class Part>
  void store_names(const Part& part, int64_t at, Mask<A> names) const {
    if (indices_) part.store_indices(indices_ + at, names);
    if (offsets_) part.store_indices(offsets_ + at, names);
  }

  // One window of all channels, several vectors of them at a time where there are so many; in nchw
  // of a vector of planes.
  void pool_channels(const Row& row, int64_t x, int64_t block) const {
    int64_t c = 0;
    if (p.layout == Layout::nchw) {
      c = block * lanes<A>;
      const int64_t count = std::min<int64_t>(lanes<A>, p.c - c);
      return pool_window<1>(row, x, c, PlaneLanes<A>{count, in_.c, out_.c});
    }
    const Lanes<A, true> all;
    for (; c + 4 * lanes<A> <= p.c; c += 4 * lanes<A>) pool_window<4>(row, x, c, all);
    for (; c + lanes<A> <= p.c; c += lanes<A>) pool_window<1>(row, x, c, all);
    if (c < p.c) pool_window<1>(row, x, c, Lanes<A, false>{p.c - c});
  }

  // Channels from c on. The search begins with −∞ at the first tap.
  template <int vectors, class Part>
  void pool_window(const Row& row, int64_t x, int64_t c, const Part& part) const {
    const PoolWindow& w = windows_[2][x];
    const int64_t left = w.start + w.first * p.dilation.w;
    const int64_t left_name = moves_ * w.start + w.first * name_step_;
    Best best[vectors];
    for (Best& each : best) each = start();
    if (row.t0 < row.t1 && row.r0 < row.r1 && w.first < w.end) {
      const auto first = static_cast<Index>(name_of_row(row, row.t0, row.r0) + left_name);
      for (Best& each : best) each.index = first - Mask<A>{};
    }
    for_each_tap_row(row, [&](const T* from, int64_t name) {
      const T* taps = from + left * in_.space.w + c * in_.c;
      Mask<A> index = static_cast<Index>(name + left_name) - Mask<A>{};
      for (int64_t s = w.first; s < w.end; ++s) {
        for (int v = 0; v < vectors; ++v) best[v].take(part.load(taps + v * lanes<A>), index);
        taps += p.dilation.w * in_.space.w;
        index += static_cast<Index>(name_step_);
      }
    });
    for (int v = 0; v < vectors; ++v) {
      const int64_t to = row.output + x * out_.space.w + c * out_.c + v * lanes<A>;
      part.store(output_ + to, best[v].value);
      store_names(part, to, best[v].index);
    }
  }

  static Best start() { return {broadcast(nothing), Mask<A>{} - Index(1)}; }

  void pool_row(const Row& row) const {
    // Windows [inner, outer) have all their taps inside along w.
    const int64_t reach = p.input.w + p.pad.w - p.footprint(2);
    const int64_t inner = std::min((p.pad.w + p.stride.w - 1) / p.stride.w, p.output.w);
    const int64_t outer = reach < 0 ? inner : std::clamp(reach / p.stride.w + 1, inner, p.output.w);
    const bool few = outer - inner < lanes<A>;
    const bool few_masked = std::is_same_v<T, A> && p.stride.w <= 2 && outer > inner;
    if (few && !few_masked) return pool_singles(row, 0, p.output.w);
    pool_singles(row, 0, inner);
    if (few && p.stride.w == 1) pool_few<1>(row, inner, outer);
    else if (few) pool_few<2>(row, inner, outer);
    else if (p.stride.w == 1) pool_vectors<1>(row, inner, outer);
    else if (p.stride.w == 2) pool_vectors<2>(row, inner, outer);
    else pool_vectors<0>(row, inner, outer);
    pool_singles(row, outer, p.output.w);
  }

  // The elements `stride` apart of two vectors, the second of which begins at element lanes − 1.
  template <int stride, size_t... lane>
  static Vec<A> spread(Vec<A> low, Vec<A> high, std::index_sequence<lane...>) {
    if constexpr (stride == 1) return low;
    return __builtin_shufflevector(low, high, (2 * lane < lanes<A> ? 2 * lane : 2 * lane + 1)...);
  }

  // A vector of elements `stride` apart, nothing read between the last and the next vector.
  template <int stride, size_t... lane>
  Vec<A> load_strided(const T* from, std::index_sequence<lane...>) const {
    if constexpr (stride == 1) {
      return load<A>(from);
    } else if constexpr (stride == 2) {
      return spread<2>(load<A>(from), load<A>(from + lanes<A> - 1), std::index_sequence<lane...>());
    } else {
      return Vec<A>{static_cast<A>(from[lane * p.stride.w])...};
    }
  }

  // The last vector moves back to end with the row; what it does twice comes out the same.
  template <int stride>
  void pool_vectors(const Row& row, int64_t inner, int64_t outer) const {
    constexpr auto sequence = std::make_index_sequence<lanes<A>>();
    Mask<A> steps;
    for (int i = 0; i < lanes<A>; ++i) steps[i] = static_cast<Index>(moves_ * i * p.stride.w);
    for (int64_t next = inner; next < outer; next += lanes<A>) {
      const int64_t x = std::min(next, outer - lanes<A>), w = x * p.stride.w - p.pad.w;
      Best best = start();
      bool first = true;
      for_each_tap_row(row, [&](const T* from, int64_t name) {
        for (int64_t s = 0; s < p.window.w; ++s) {
          const Vec<A> value = load_strided<stride>(from + w + s * p.dilation.w, sequence);
          const Mask<A> index = static_cast<Index>(name + moves_ * w + s * name_step_) + steps;
          if (first) best = {value, index};
          else best.take(value, index);
          first = false;
        }
      });
      store_best(row.output + x, best, lanes<A>);
    }
  }

  // Fewer windows than lanes: masked loads read just what those windows cover.
  template <int stride>
  void pool_few(const Row& row, int64_t inner, int64_t outer) const {
    const int64_t w = inner * p.stride.w - p.pad.w, span = (outer - inner - 1) * stride + 1;
    Mask<A> steps, low, high;
    for (int i = 0; i < lanes<A>; ++i) {
      steps[i] = static_cast<Index>(moves_ * i * stride);
      low[i] = i < span ? -1 : 0;
      high[i] = i + lanes<A> - 1 < span ? -1 : 0;
    }
    Best best = start();
    bool first = true;
    for_each_tap_row(row, [&](const T* from, int64_t name) {
      for (int64_t s = 0; s < p.window.w; ++s) {
        const A* const taps = reinterpret_cast<const A*>(from + w + s * p.dilation.w);
        const Vec<A> value =
            spread<stride>(load_masked<A>(taps, low), load_masked<A>(taps + lanes<A> - 1, high),
                           std::make_index_sequence<lanes<A>>());
        const Mask<A> index = static_cast<Index>(name + moves_ * w + s * name_step_) + steps;
        if (first) best = {value, index};
        else best.take(value, index);
        first = false;
      }
    });
    store_best(row.output + inner, best, outer - inner);
  }

  void pool_singles(const Row& row, int64_t begin, int64_t end) const {
    for (int64_t x = begin; x < end; ++x) {
      const auto [w, s0, s1] = windows_[2][x];
      A best = nothing;
      int64_t best_name = -1;
      for_each_tap_row(row, [&](const T* from, int64_t name) {
        for (int64_t s = s0; s < s1; ++s) {
          const auto value = static_cast<A>(from[w + s * p.dilation.w]);
          // No branch: which tap wins cannot be predicted.
          const bool better = (best_name < 0) | (value > best) | (value != value);
          best = better ? value : best;
          best_name = better ? name + moves_ * w + s * name_step_ : best_name;
        }
      });
      output_[row.output + x] = static_cast<T>(best);
      if (indices_) indices_[row.output + x] = best_name;
      if (offsets_) offsets_[row.output + x] = static_cast<uint8_t>(best_name);
    }
  }

  const PoolProblem& p;
  const T* input_;
  T* output_;
  int64_t* indices_;
  uint8_t* offsets_;
  int64_t moves_;      // whether a tap has another name in each window: 1 or 0
  int64_t name_step_;  // from the name of a tap to that of the next along w
  Strides in_, out_;
  bool by_channel_;  // lanes are channels, not windows along w
  std::vector<PoolWindow> windows_[3];
};

void max_pool_forward(const PoolProblem& problem, const PoolTensors& tensors,
                      const ParallelFor& parallel) {
  dispatch(problem.dtype,
           [&]<class T>(T) { MaxPoolForward<T>(problem, tensors, false).run(parallel); });
}

void adaptive_max_pool_forward(const PoolProblem& problem, const PoolTensors& tensors,
                               const ParallelFor& parallel) {
  dispatch(problem.dtype,
           [&]<class T>(T) { MaxPoolForward<T>(problem, tensors, true).run(parallel); });
}

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
