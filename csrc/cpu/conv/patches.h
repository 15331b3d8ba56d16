// Reading patches: the im2col matrix, a panel at a time, never as a whole.
//
// The matrix has a row for each (tap, channel), tap outermost, and a column for each pixel.
//   nchw: neighbouring pixels are neighbours in memory. A PixelPanel holds W pixels; gather_rows
//         writes rows of W. What depends on the pixels only (runs of adjacent source elements,
//         whether any tap reads outside) is found once a panel, which lanes are inside once a tap.
//   nhwc: neighbouring channels are neighbours in memory. gather_pixel writes one column.
// Storage is converted to the arithmetic type A on the way.
#pragma once

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
  void advance() {
    if (++w < gather.grid.w) return;
    w = 0;
    if (++h < gather.grid.h) return;
    h = 0;
    if (++d < gather.grid.d) return;
    d = 0;
    ++n;
  }
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
      if (lane > 0 && offset_[lane] == offset_[lane - 1] + 1) continue;
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
    const int64_t stride = gather_.strides.c;
    if (valid == 0) {
      __builtin_memset(to, 0, channels * W * sizeof(A));
    } else if (runs_ == 1 && valid == W) {
      for (int64_t c = 0; c < channels; ++c, to += W)
        for (int v = 0; v < vectors; ++v)
          store<A>(to + v * lanes<A>, load<A>(source + c * stride + offset_[0] + v * lanes<A>));
    } else if (std::is_same_v<T, A> && runs_ <= max_runs) {
      const auto* from = reinterpret_cast<const A*>(source);
      if (runs_ == 1) gather_runs<1>(from, channels, to);
      else if (runs_ == 2) gather_runs<2>(from, channels, to);
      else if (runs_ == 3) gather_runs<3>(from, channels, to);
      else gather_runs<4>(from, channels, to);
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

  // A masked load for each run, or-ed together.
  template <int runs>
  void gather_runs(const A* source, int64_t channels, A* to) {
    Mask<A> masks[runs][vectors];
    const A* from[runs];
    for (int run = 0; run < runs; ++run) {
      from[run] = source + offset_[run_begin_[run]] - run_begin_[run];
      for (int v = 0; v < vectors; ++v)
        masks[run][v] = lane_mask(valid_, v) & lane_mask(in_run_[run], v);
    }
    for (int64_t c = 0; c < channels; ++c, to += W)
      for (int v = 0; v < vectors; ++v) {
        Mask<A> bits = {};
        for (int run = 0; run < runs; ++run)
          bits |= reinterpret_cast<Mask<A>>(
              load_masked(from[run] + c * gather_.strides.c + v * lanes<A>, masks[run][v]));
        store<A>(to + v * lanes<A>, reinterpret_cast<Vec<A>>(bits));
      }
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
  for (; i < count; ++i) to[i] = static_cast<A>(from[i]);
}

/// Rows [begin, end) of the matrix for the cursor's pixel, channels last.
template <class A, class T>
void gather_pixel(const Gather& gather, const T* source, const PixelCursor& at, int64_t begin,
                  int64_t end, A* to) {
  const int64_t d = at.d * gather.step.d, h = at.h * gather.step.h, w = at.w * gather.step.w;
  source += gather.strides.at(at.n, 0, d, h, w);
  while (begin < end) {
    const Tap& tap = gather.taps[begin / gather.channels];
    const int64_t c = begin % gather.channels, tap_w = w + tap.w;
    const bool inside = static_cast<uint64_t>(d + tap.d) < static_cast<uint64_t>(gather.extent.d) &&
                        static_cast<uint64_t>(h + tap.h) < static_cast<uint64_t>(gather.extent.h) &&
                        static_cast<uint64_t>(tap_w) < static_cast<uint64_t>(gather.extent.w);
    const int64_t taps = inside ? std::min(tap.run, gather.extent.w - tap_w) : 1;
    const int64_t count = std::min(taps * gather.channels - c, end - begin);
    if (inside) copy<A>(source + tap.source + c, count, to);
    else __builtin_memset(to, 0, count * sizeof(A));
    begin += count;
    to += count;
  }
}

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
