// The part of one plane (nchw) that a block of outputs reads, copied.
//
// It is copied with zeros around it, as numbers of type A, and split into phases: with stride 2
// even and odd rows and columns lie apart, so that whatever the stride, neighbouring lanes read
// neighbours, and a tap is one offset for all outputs of the block.
#pragma once

#include <span>

#include "cpu/conv/gemm.h"
#include "cpu/conv/patches.h"

namespace cnnkern::cpu::CNNKERN_CPU_ISA {

// The pixels [begin, end) of a row for which a tap at offset `tap` is inside.
struct Span {
  int64_t begin, end;

  Span(int64_t tap, int64_t step, int64_t extent, int64_t grid)
      : begin(tap >= 0 ? 0 : std::min(grid, ceil_div(-tap, step))),
        end(tap >= extent ? 0 : std::min(grid, (extent - 1 - tap) / step + 1)) {}
};

/// The parts of the even lanes, or of the odd ones, of two vectors.
template <class V, size_t... lane>
inline V every_second(V low, V high, int odd, std::index_sequence<lane...>) {
  return odd ? __builtin_shufflevector(low, high, (2 * lane + 1)...)
             : __builtin_shufflevector(low, high, (2 * lane)...);
}

/// What a block of outputs reads from one plane.
template <class T>
class PlaneBlock {
  using A = accumulator_t<T>;
  static constexpr auto sequence = std::make_index_sequence<lanes<A>>();

 public:
  /// For all gathers that differ only in their taps along w; of about `most_elements`, but of at
  /// least a few rows of up to `most_cols` outputs.
  explicit PlaneBlock(std::span<const Gather> gathers, int64_t most_elements = 4096,
                      int64_t most_cols = 1024)
      : g_(gathers[0]) {
    int64_t width = 0;
    bool any = false;
    for (const Gather& gather : gathers) {
      width = std::max(width, gather.grid.w);
      if (gather.tap_count == 0) continue;
      if (!any) g_ = gather;
      any = true;
      lowest_ = std::min(lowest_, gather.lowest.w);
      highest_ = std::max(highest_, gather.highest.w);
    }
    if (!any) lowest_ = highest_ = 0;
    const int64_t depth = any ? g_.taps_along.d : 0, height = g_.grid.h;
    cols = std::min(width, most_cols);
    pitch_ = cols + (highest_ - lowest_) / g_.step.w;
    const int64_t beyond = (g_.highest.h - g_.lowest.h) / g_.step.h;
    const int64_t row = std::max<int64_t>(depth, 1) * g_.step.h * g_.step.w * pitch_;
    rows = std::clamp<int64_t>(most_elements / row - beyond, std::min<int64_t>(height, 4), height);
    phase_ = (rows + beyond) * pitch_;
    layer_ = g_.step.h * g_.step.w * phase_;
    size_ = depth * layer_;
    full_width_ = cols == width;
    once_ = g_.grid.d == 1 && rows == height && full_width_;
  }

  int64_t rows, cols;  // of a block; the last ones of a plane have fewer

  int64_t elements() const { return size_ + 2 * lanes<A>; }
  int64_t pitch() const { return pitch_; }
  bool whole_plane() const { return once_; }

  /// Where the tap of output (0, 0) reads in the copy.
  int64_t offset(const Gather& gather, int64_t tap) const {
    const Tap& at = gather.taps[tap];
    const int64_t h = at.h - g_.lowest.h, w = at.w - lowest_;
    const int64_t layer = tap / (gather.taps_along.h * gather.taps_along.w);
    return layer * layer_ + (h % g_.step.h * g_.step.w + w % g_.step.w) * phase_ +
           h / g_.step.h * pitch_ + w / g_.step.w;
  }

  /// Copies what outputs from (d, y, x) on read. `to` holds zeros or an earlier block.
  void fill(const T* plane, int64_t d, int64_t y, int64_t x, A* to) const {
    const int64_t left = x * g_.step.w + lowest_;
    const bool inside = left >= 0 && left + pitch_ * g_.step.w <= g_.extent.w;
    if (!full_width_ && !inside) std::fill_n(to, size_, A(0));  // else zeros beside it stay zero
    for (int64_t layer = 0; layer * layer_ < size_; ++layer, to += layer_) {
      const int64_t at = d * g_.step.d + g_.taps[layer * g_.taps_along.h * g_.taps_along.w].d;
      if (at >= 0 && at < g_.extent.d) fill_layer(plane + at * g_.strides.space.d, y, x, to);
      else if (!once_) std::fill_n(to, layer_, A(0));
    }
  }

 private:
  void fill_layer(const T* plane, int64_t y, int64_t x, A* to) const {
    const int64_t first = y * g_.step.h + g_.lowest.h, left = x * g_.step.w + lowest_;
    const int64_t begin = std::max<int64_t>(left, 0);
    const int64_t end = std::min(left + pitch_ * g_.step.w, g_.extent.w);
    const int64_t height = phase_ / pitch_;
    if (begin >= end) return;  // of all blocks, or the copy has been cleared
    for (int64_t phase = 0; phase < g_.step.h; ++phase, to += g_.step.w * phase_) {
      const Span inside(first + phase, g_.step.h, g_.extent.h, height);
      if (!once_) clear_rows_outside(inside, height, to);
      for (int64_t row = inside.begin; row < inside.end; ++row)
        split(plane + (first + phase + row * g_.step.h) * g_.strides.space.h + begin, begin - left,
              end - begin, to + row * pitch_);
    }
  }

  // Of all phases along w.
  void clear_rows_outside(const Span& inside, int64_t height, A* to) const {
    const int64_t begin = std::min(inside.begin, height), end = std::max(inside.end, begin);
    for (int64_t phase = 0; phase < g_.step.w; ++phase, to += phase_) {
      std::fill(to, to + begin * pitch_, A(0));
      std::fill(to + end * pitch_, to + height * pitch_, A(0));
    }
  }

  // Element i of a row goes to phase i mod step.w, place i / step.w; these are `count` from `i` on.
  void split(const T* from, int64_t i, int64_t count, A* to) const {
    const int64_t step = g_.step.w;
    if (step == 1) {
      copy_row(from, count, to + i);
    } else if (step == 2) {
      A* even = to + i % 2 * phase_ + i / 2;
      A* odd = to + (i + 1) % 2 * phase_ + (i + 1) / 2;
      const auto put = [&](Vec<A> low, Vec<A> high, int64_t size) {
        store_lanes(even, every_second(low, high, 0, sequence), (size + 1) / 2);
        store_lanes(odd, every_second(low, high, 1, sequence), size / 2);
      };
      for (; count >= 2 * lanes<A>; count -= 2 * lanes<A>) {
        put(load<A>(from), load<A>(from + lanes<A>), 2 * lanes<A>);
        from += 2 * lanes<A>;
        even += lanes<A>;
        odd += lanes<A>;
      }
      if (count > 0)
        put(load_partial<A>(from, std::min<int64_t>(count, lanes<A>)),
            load_partial<A>(from + lanes<A>, std::max<int64_t>(count - lanes<A>, 0)), count);
    } else {
      for (int64_t phase = 0; phase < step; ++phase) {
        const int64_t first = phase >= i % step ? i / step : i / step + 1;
        const T* const element = from + first * step + phase - i;
        A* const at = to + phase * phase_;
        for (int64_t place = first; place * step + phase < i + count; ++place)
          at[place] = static_cast<A>(element[(place - first) * step]);
      }
    }
  }

  static void store_lanes(A* to, Vec<A> value, int64_t count) {
    if (count == lanes<A>) store<A>(to, value);
    else store_partial<A>(to, value, count);
  }

  static void copy_row(const T* from, int64_t count, A* to) {
    int64_t i = 0;
    for (; i + lanes<A> <= count; i += lanes<A>) store<A>(to + i, load<A>(from + i));
    if (i == count) return;
    if (i > 0) store<A>(to + count - lanes<A>, load<A>(from + count - lanes<A>));
    else store_partial<A>(to, load_partial<A>(from, count), count);
  }

  Gather g_;                                          // one that has taps
  int64_t lowest_ = INT64_MAX, highest_ = INT64_MIN;  // along w, of all gathers
  int64_t pitch_, phase_, layer_, size_;              // elements of a row, a phase, a plane, all
  bool full_width_;  // every block has its zeros beside the plane in the same places
  bool once_;        // every plane is one block: all its zeros are in the same places
};

/// body(d, y, x, rows, cols) for all blocks of a gather's grid.
template <class T, class Body>
void for_each_block(const PlaneBlock<T>& block, const Extent3& grid, Body&& body) {
  for (int64_t d = 0; d < grid.d; ++d)
    for (int64_t y = 0; y < grid.h; y += block.rows)
      for (int64_t x = 0; x < grid.w; x += block.cols)
        body(d, y, x, std::min(block.rows, grid.h - y), std::min(block.cols, grid.w - x));
}

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
