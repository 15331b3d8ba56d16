// Reading patches: the im2col matrix, a panel at a time, never as a whole.
//
// The matrix has a row for each (tap, channel), tap outermost, and a column for each pixel.
//   nchw: neighbouring pixels are neighbours in memory. A PixelPanel holds W pixels; gather_rows
//         writes rows of W. What depends on the pixels only (runs of source elements a stride
//         apart, whether any tap reads outside) is found once a panel, which lanes are inside once
//         a tap.
//   nhwc: neighbouring channels are neighbours in memory. PixelRows writes columns, one by one.
// Storage is converted to the arithmetic type A on the way.
#pragma once

#include <algorithm>

#include "cpu/conv/gather_conv.h"
#include "cpu/simd.h"

namespace cnnkern::cpu::CNNKERN_CPU_ISA {

/// Walks the pixels of a gather's grid: n slowest, w fastest.
struct PixelCursor {
  const Gather& gather;
  int64_t n, d, h, w;

  PixelCursor(const Gather& g, int64_t pixel) : gather(g) {
    w = pixel % g.grid.w;
    pixel /= g.grid.w;
    h = pixel % g.grid.h;
    pixel /= g.grid.h;
    d = pixel % g.grid.d;
    n = pixel / g.grid.d;
  }
  /// `count` ends with the row at most.
  void advance(int64_t count = 1) {
    w += count;
    if (w < gather.grid.w) return;
    w = 0;
    if (++h < gather.grid.h) return;
    h = 0;
    if (++d < gather.grid.d) return;
    d = 0;
    ++n;
  }
};

/// body(cursor, count) for pixels [first, last) in runs that end with the rows of the grid.
template <class Body>
inline void for_each_run(const Gather& gather, int64_t first, int64_t last, Body&& body) {
  for (PixelCursor at(gather, first); first < last;) {
    const int64_t count = std::min(gather.grid.w - at.w, last - first);
    body(at, count);
    first += count;
    at.advance(count);
  }
}

/// Where a pixel's patch lies in the source.
struct PixelPlace {
  const Gather& gather;
  Extent3 at;      // source coordinates, before a tap's are added
  int64_t offset;  // likewise, of the element
  bool interior;   // every tap is inside

  explicit PixelPlace(const PixelCursor& pixel)
      : gather(pixel.gather),
        at{pixel.d * gather.step.d, pixel.h * gather.step.h, pixel.w * gather.step.w},
        offset(gather.strides.at(pixel.n, 0, at.d, at.h, at.w)),
        rows_inside_(reaches_inside(0) && reaches_inside(1)) {
    interior = rows_inside_ && reaches_inside(2);
  }

  /// To the next pixel of the same row.
  void advance() {
    at.w += gather.step.w;
    offset += gather.step.w * gather.strides.space.w;
    interior = rows_inside_ && reaches_inside(2);
  }

 private:
  bool reaches_inside(int axis) const {
    return at[axis] + gather.lowest[axis] >= 0 &&
           at[axis] + gather.highest[axis] < gather.extent[axis];
  }
  bool rows_inside_;
};

/// W neighbouring pixels; the lanes beyond `count` read as zero.
template <class A, int W>
class PixelPanel {
 public:
  using Int = std::conditional_t<sizeof(A) == 4, int32_t, int64_t>;
  static constexpr int vectors = W / lanes<A>;
  static constexpr int max_runs = 4;  // with more, lanes are read one by one

  PixelPanel(const Gather& gather, PixelCursor& cursor, int count)
      : gather_(gather), count_(count) {
    Extent3 first{INT64_MAX, INT64_MAX, INT64_MAX}, last{0, 0, 0};
    const int64_t step = gather.step.w * gather.strides.space.w;
    for (int lane = 0; lane < W; ++lane) {
      d_[lane] = h_[lane] = w_[lane] = outside;
      if (lane >= count) continue;
      const Extent3 at{cursor.d * gather.step.d, cursor.h * gather.step.h,
                       cursor.w * gather.step.w};
      for (int axis = 0; axis < 3; ++axis) {
        first[axis] = std::min(first[axis], at[axis]);
        last[axis] = std::max(last[axis], at[axis]);
      }
      d_[lane] = static_cast<int32_t>(at.d);
      h_[lane] = static_cast<int32_t>(at.h);
      w_[lane] = static_cast<int32_t>(at.w);
      valid_[lane] = -1;
      offset_[lane] = gather.strides.at(cursor.n, 0, at.d, at.h, at.w);
      cursor.advance();
      if (lane > 0 && offset_[lane] == offset_[lane - 1] + step) continue;
      if (runs_ < max_runs) run_begin_[runs_] = lane;
      ++runs_;
    }
    for (int axis = 0; axis < 3; ++axis)
      interior_ = interior_ && first[axis] + gather.lowest[axis] >= 0 &&
                  last[axis] + gather.highest[axis] < gather.extent[axis];
    if (runs_ > max_runs) return;
    run_begin_[runs_] = W;
    for (int run = 0; run < runs_; ++run)
      for (int lane = run_begin_[run]; lane < run_begin_[run + 1]; ++lane) in_run_[run][lane] = -1;
  }

  /// Rows [begin, end) of the matrix, each W wide, one after another.
  template <class T>
  void gather_rows(const T* source, int64_t begin, int64_t end, A* to) {
    while (begin < end) {
      const Tap& tap = gather_.taps[begin / gather_.channels];
      const int64_t c = begin % gather_.channels;
      const int64_t count = std::min(gather_.channels - c, end - begin);
      gather_tap(source + tap.source + c * gather_.strides.c, tap, count, to);
      begin += count;
      to += count * W;
    }
  }

 private:
  static constexpr int32_t outside = INT32_MIN / 2;

  template <class T>
  void gather_tap(const T* source, const Tap& tap, int64_t channels, A* to) {
    const int valid = interior_ ? count_ : find_valid(tap);
    const int64_t stride = gather_.strides.c, step = gather_.step.w * gather_.strides.space.w;
    const bool in_vectors = step == 1 || step == 2 || step == 4;
    if (valid == 0) {
      __builtin_memset(to, 0, channels * W * sizeof(A));
    } else if (step == 1 && runs_ == 1 && valid == W) {
      for (int64_t c = 0; c < channels; ++c, to += W)
        for (int v = 0; v < vectors; ++v)
          store<A>(to + v * lanes<A>, load<A>(source + c * stride + offset_[0] + v * lanes<A>));
    } else if (std::is_same_v<T, A> && in_vectors && runs_ <= max_runs) {
      const auto* from = reinterpret_cast<const A*>(source);
      if (step == 1) gather_any_runs<1>(from, channels, to);
      else if (step == 2) gather_any_runs<2>(from, channels, to);
      else gather_any_runs<4>(from, channels, to);
    } else {
      gather_lanes(source, channels, to);
    }
  }

  // Which lanes this tap finds inside the source; their number.
  int find_valid(const Tap& tap) {
    int32_t inside[W], count = 0;
    const auto depth = static_cast<uint32_t>(gather_.extent.d);
    const auto height = static_cast<uint32_t>(gather_.extent.h);
    const auto width = static_cast<uint32_t>(gather_.extent.w);
    for (int lane = 0; lane < W; ++lane) {
      inside[lane] = (static_cast<uint32_t>(d_[lane] + tap.d) < depth) &
                     (static_cast<uint32_t>(h_[lane] + tap.h) < height) &
                     (static_cast<uint32_t>(w_[lane] + tap.w) < width);
      count += inside[lane];
    }
    for (int lane = 0; lane < W; ++lane) valid_[lane] = -static_cast<Int>(inside[lane]);
    return count;
  }

  template <int step>
  void gather_any_runs(const A* source, int64_t channels, A* to) {
    if (runs_ == 1) gather_runs<1, step>(source, channels, to);
    else if (runs_ == 2) gather_runs<2, step>(source, channels, to);
    else if (runs_ == 3) gather_runs<3, step>(source, channels, to);
    else gather_runs<4, step>(source, channels, to);
  }

  // Masked loads for each run, or-ed together; of `step` vectors every step-th element is kept.
  template <int runs, int step>
  void gather_runs(const A* source, int64_t channels, A* to) {
    Mask<A> masks[runs][vectors][step];
    const A* from[runs];
    for (int run = 0; run < runs; ++run) {
      from[run] = source + offset_[run_begin_[run]] - run_begin_[run] * step;
      for (int v = 0; v < vectors; ++v)
        spread(lane_mask(valid_, v) & lane_mask(in_run_[run], v), masks[run][v]);
    }
    for (int64_t c = 0; c < channels; ++c, to += W)
      for (int v = 0; v < vectors; ++v) {
        Mask<A> bits[step] = {};
        for (int run = 0; run < runs; ++run)
          for (int part = 0; part < step; ++part)
            bits[part] |= reinterpret_cast<Mask<A>>(
                load_masked(from[run] + c * gather_.strides.c + (v * step + part) * lanes<A>,
                            masks[run][v][part]));
        store<A>(to + v * lanes<A>, reinterpret_cast<Vec<A>>(gather_even(bits)));
      }
  }

  // The lanes of a mask `step` elements apart, zero between them.
  template <int step>
  static void spread(const Mask<A>& mask, Mask<A> (&to)[step]) {
    if constexpr (step == 1) {
      to[0] = mask;
    } else {
      Mask<A> half[step / 2];
      spread(mask, half);
      for (int part = 0; part < step / 2; ++part)
        spread_half(half[part], to[2 * part], to[2 * part + 1],
                    std::make_index_sequence<lanes<A>>());
    }
  }
  template <size_t... lane>
  static void spread_half(const Mask<A>& mask, Mask<A>& lower, Mask<A>& upper,
                          std::index_sequence<lane...>) {
    constexpr int size = lanes<A>;
    lower = __builtin_shufflevector(mask, Mask<A>{}, (lane % 2 ? size : lane / 2)...);
    upper = __builtin_shufflevector(mask, Mask<A>{}, (lane % 2 ? size : (size + lane) / 2)...);
  }

  // The elements 0, step, 2 · step, … of `step` vectors.
  template <int step>
  static Mask<A> gather_even(const Mask<A> (&parts)[step]) {
    if constexpr (step == 1) {
      return parts[0];
    } else {
      Mask<A> half[step / 2];
      for (int part = 0; part < step / 2; ++part)
        half[part] =
            take_even(parts[2 * part], parts[2 * part + 1], std::make_index_sequence<lanes<A>>());
      return gather_even(half);
    }
  }
  template <size_t... lane>
  static Mask<A> take_even(const Mask<A>& lower, const Mask<A>& upper,
                           std::index_sequence<lane...>) {
    return __builtin_shufflevector(lower, upper, (2 * lane)...);
  }

  static Mask<A> lane_mask(const Int (&bits)[W], int vector) {
    Mask<A> mask;
    __builtin_memcpy(&mask, bits + vector * lanes<A>, sizeof mask);
    return mask;
  }

  template <class T>
  void gather_lanes(const T* source, int64_t channels, A* to) {
    int64_t safe[W];  // an element inside the source, also for lanes that are outside
    int first = 0;
    for (int lane = W - 1; lane > 0; --lane)
      if (valid_[lane]) first = lane;
    for (int lane = 0; lane < W; ++lane) safe[lane] = offset_[valid_[lane] ? lane : first];
    for (int64_t c = 0; c < channels; ++c, to += W, source += gather_.strides.c)
      for (int lane = 0; lane < W; ++lane) {
        const auto value = static_cast<A>(source[safe[lane]]);
        Int bits;
        __builtin_memcpy(&bits, &value, sizeof bits);
        bits &= valid_[lane];
        __builtin_memcpy(to + lane, &bits, sizeof bits);
      }
  }

  const Gather& gather_;
  int count_;
  bool interior_ = true;  // every tap finds every lane inside
  int runs_ = 0, run_begin_[max_runs + 1] = {};
  int32_t d_[W] = {}, h_[W] = {}, w_[W] = {};
  int64_t offset_[W] = {};
  alignas(64) Int valid_[W] = {};  // of the current tap; of all taps if interior
  alignas(64) Int in_run_[max_runs][W] = {};
};

template <class A, class T>
inline void copy(const T* from, int64_t count, A* to) {
  int64_t i = 0;
  for (; i + lanes<A> <= count; i += lanes<A>) store<A>(to + i, load<A>(from + i));
  if (i < count) store_partial<A>(to + i, load_partial<A>(from + i, count - i), count - i);
}

/// Rows [begin, end) of the matrix for one pixel after another, channels last.
template <class A>
class PixelRows {
 public:
  PixelRows(const Gather& gather, int64_t begin, int64_t end)
      : gather_(gather),
        tap_(gather.taps + (end > begin ? begin / gather.channels : 0)),
        channel_(end > begin ? begin % gather.channels : 0),
        size_(end - begin),
        in_one_piece_(end > begin && channel_ + size_ <= tap_->run * gather.channels),
        place_(in_one_piece_ ? tap_->source + channel_ : 0) {}

  template <class T>
  void gather_pixel(const T* source, const PixelPlace& pixel, A* to) const {
    source += pixel.offset;
    if (in_one_piece_ && pixel.interior) return copy<A>(source + place_, size_, to);
    const auto& [d, h, w] = pixel.at;
    const Tap* tap = tap_;
    for (int64_t c = channel_, left = size_; left > 0; c = 0) {
      const int64_t tap_w = w + tap->w;
      const bool inside = pixel.interior || (is_inside(d + tap->d, gather_.extent.d) &&
                                             is_inside(h + tap->h, gather_.extent.h) &&
                                             is_inside(tap_w, gather_.extent.w));
      const int64_t taps = inside ? std::min(tap->run, gather_.extent.w - tap_w) : 1;
      const int64_t count = std::min(taps * gather_.channels - c, left);
      if (inside) copy<A>(source + tap->source + c, count, to);
      else std::fill_n(to, count, A(0));
      tap += taps;
      left -= count;
      to += count;
    }
  }

  /// The rows where they lie, if that is one after another inside the source, else in `scratch`.
  template <class T>
  const A* find(const T* source, const PixelPlace& pixel, A* scratch) const {
    if constexpr (std::is_same_v<T, A>)
      if (in_one_piece_ && pixel.interior) return source + pixel.offset + place_;
    gather_pixel(source, pixel, scratch);
    return scratch;
  }

 private:
  static bool is_inside(int64_t at, int64_t extent) {
    return static_cast<uint64_t>(at) < static_cast<uint64_t>(extent);
  }

  const Gather& gather_;
  const Tap* tap_;
  int64_t channel_, size_;
  bool in_one_piece_;
  int64_t place_;  // then from the pixel's offset
};

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
