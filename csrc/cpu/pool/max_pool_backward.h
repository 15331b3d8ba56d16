// Max pooling backward in nhwc with vectors; included by the translation unit of one instruction
// set only.
//
// Lanes are channels. Every pixel gathers: it adds the gradients of those windows over it whose
// maximum it is, and is written once. The saved positions of a row of windows, or the offsets, are
// first made integers as wide as the arithmetic type, and stay near for all rows of pixels below
// them. An offset is compared with the number of the window's tap that reads the pixel. A task is a
// row of pixels.
// Memory: the positions of as many rows of windows per thread as lie over one row of pixels.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "cpu/pool/max_pool.h"
#include "cpu/pool/pool_lanes.h"
#include "cpu/strides.h"

namespace cnnkern::cpu::CNNKERN_CPU_ISA {

/// Which tap of window o reads position i along an axis; negative if i lies between two.
inline int64_t tap_at(const PoolProblem& p, int axis, int64_t i, int64_t o) {
  const int64_t distance = i + p.pad[axis] - o * p.stride[axis];
  if (p.dilation[axis] == 1) return distance;  // a division costs as much as a window
  return distance % p.dilation[axis] == 0 ? distance / p.dilation[axis] : -1;
}

/// The windows that reach a position along an axis, and perhaps, if dilated, do not cover it.
struct WindowsOver {
  int64_t first, end;
};

inline std::vector<WindowsOver> windows_over(const PoolProblem& p, int axis) {
  std::vector<WindowsOver> result;
  for (int64_t i = 0; i < p.input[axis]; ++i) {
    const int64_t reach = i + p.pad[axis] - p.footprint(axis) + 1;
    const int64_t first = reach <= 0 ? 0 : (reach + p.stride[axis] - 1) / p.stride[axis];
    const int64_t end = std::min(p.output[axis], (i + p.pad[axis]) / p.stride[axis] + 1);
    result.push_back({std::min(first, end), end});
  }
  return result;
}

template <class T>
class MaxPoolBackward {
  using A = accumulator_t<T>;
  using Index = std::conditional_t<sizeof(A) == 4, int32_t, int64_t>;

  // A window, or the first one of a row, in all channels, and what names the pixel in it: of the
  // row, the number of the tap before which the window's taps along w are counted.
  struct Window {
    const Index* position;
    const T* gradient;
    Index own;
  };

  // What one thread holds.
  struct Scratch {
    Buffer<Index> positions;
    std::vector<int64_t> held;    // which row of windows each place has
    std::vector<Window> windows;  // the rows over a row of pixels, then the windows over a pixel
  };

 public:
  MaxPoolBackward(const PoolProblem& problem, const PoolTensors& tensors)
      : p(problem),
        grad_input_(static_cast<T*>(tensors.input)),
        gradient_(static_cast<const T*>(tensors.output)),
        indices_(tensors.indices),
        offsets_(tensors.offsets),
        row_(p.output.w * p.c) {
    for (int axis = 0; axis < 3; ++axis) over_[axis] = windows_over(p, axis);
    for (int axis = 0; axis < 2; ++axis)
      for (const WindowsOver& each : over_[axis])
        near_[axis] = std::max(near_[axis], each.end - each.first);
  }

  void run(const ParallelFor& parallel) const {
    parallel(p.n * p.input.d * p.input.h, [&](int64_t begin, int64_t end) {
      const int64_t places = near_[0] * near_[1];
      Scratch scratch{Buffer<Index>(places * pitch()), std::vector<int64_t>(places, -1), {}};
      for (int64_t task = begin; task < end; ++task) {
        const int64_t h = task % p.input.h, d = task / p.input.h % p.input.d;
        gather_row(task / p.input.h / p.input.d, d, h, grad_input_ + task * p.input.w * p.c,
                   scratch);
      }
    });
  }

 private:
  int64_t pitch() const { return row_ + lanes<A>; }  // the last vector may be read as a whole

  void gather_row(int64_t n, int64_t d, int64_t h, T* to, Scratch& scratch) const {
    std::vector<Window>& windows = scratch.windows;
    windows.clear();
    for (int64_t z = over_[0][d].first; z < over_[0][d].end; ++z)
      for (int64_t y = over_[1][h].first; y < over_[1][h].end; ++y) {
        int64_t row_of_taps = 0;
        if (offsets_) {
          const int64_t t = tap_at(p, 0, d, z), r = tap_at(p, 1, h, y);
          if (t < 0 || r < 0) continue;
          row_of_taps = (t * p.window.h + r) * p.window.w;
        }
        const int64_t place = z % near_[0] * near_[1] + y % near_[1];
        const int64_t row = (n * p.output.d + z) * p.output.h + y;
        Index* const positions = scratch.positions.get() + place * pitch();
        if (scratch.held[place] != row) bring(row * row_, positions);
        scratch.held[place] = row;
        windows.push_back({positions, gradient_ + row * row_, static_cast<Index>(row_of_taps)});
      }
    const size_t rows = windows.size();
    auto position = static_cast<Index>((d * p.input.h + h) * p.input.w);
    for (int64_t w = 0; w < p.input.w; ++w, ++position, to += p.c) {
      windows.resize(rows);
      for (size_t row = 0; row < rows; ++row)
        for (int64_t x = over_[2][w].first; x < over_[2][w].end; ++x) {
          const int64_t s = offsets_ ? tap_at(p, 2, w, x) : 0;
          if (s < 0) continue;
          const auto own = offsets_ ? static_cast<Index>(windows[row].own + s) : position;
          windows.push_back(
              {windows[row].position + x * p.c, windows[row].gradient + x * p.c, own});
        }
      gather_pixel(std::span<const Window>(windows).subspan(rows), to);
    }
  }

  // Positions outside the plane are nobody's, also those that the narrower integers would alias; so
  // are offsets of no tap.
  void bring(int64_t first, Index* to) const {
    if (offsets_) return static_cast<void>(std::copy_n(offsets_ + first, row_, to));
    const int64_t* const saved = indices_ + first;
    const auto volume = static_cast<uint64_t>(p.input.volume());
    for (int64_t i = 0; i < row_; ++i)
      to[i] = static_cast<uint64_t>(saved[i]) < volume ? static_cast<Index>(saved[i]) : Index(-1);
  }

  void gather_pixel(std::span<const Window> windows, T* to) const {
    const Lanes<A, true> all;
    int64_t c = 0;
    for (; c + 4 * lanes<A> <= p.c; c += 4 * lanes<A>) gather<4>(windows, c, all, to);
    for (; c + lanes<A> <= p.c; c += lanes<A>) gather<1>(windows, c, all, to);
    if (c < p.c) gather<1>(windows, c, Lanes<A, false>{p.c - c}, to);
  }

  template <int vectors, class Part>
  static void gather(std::span<const Window> windows, int64_t c, const Part& part, T* to) {
    Vec<A> sums[vectors] = {};
    for (const Window& window : windows) {
      const Mask<A> own = window.own - Mask<A>{};
      for (int v = 0; v < vectors; ++v) {
        Mask<A> at;
        __builtin_memcpy(&at, window.position + c + v * lanes<A>, sizeof at);
        const Vec<A> gradient = part.load(window.gradient + c + v * lanes<A>);
        sums[v] = add_where_equal<A>(sums[v], at, own, gradient);
      }
    }
    for (int v = 0; v < vectors; ++v) part.store(to + c + v * lanes<A>, sums[v]);
  }

  const PoolProblem& p;
  T* grad_input_;
  const T* gradient_;
  const int64_t* indices_;
  const uint8_t* offsets_;
  int64_t row_;               // elements of a row of windows
  int64_t near_[2] = {1, 1};  // rows of windows over a row of pixels at most, along d and h
  std::vector<WindowsOver> over_[3];
};

void max_pool_backward(const PoolProblem& problem, const PoolTensors& tensors,
                       const ParallelFor& parallel) {
  dispatch(problem.dtype, [&]<class T>(T) { MaxPoolBackward<T>(problem, tensors).run(parallel); });
}

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
