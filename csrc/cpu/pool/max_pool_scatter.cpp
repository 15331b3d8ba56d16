// Max pooling backward by scattering: every window adds its gradient where its maximum was.
//
// For nchw; in nhwc for planes that max_pool_backward.h refuses, and adaptive pooling. A task owns
// a block of channels of one image, so that no two threads write to the same plane and the order of
// the sums is fixed. In nchw a block is one plane; in nhwc it is 16 cache lines of channels, or
// four where that would leave too few tasks: one line a pixel, pixels a power of two apart, would
// fall into few sets of the cache. float16 and bfloat16 are summed in a float copy of the block,
// which is small for that. Offsets are read in nchw only.
#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "cpu/pool/max_pool.h"
#include "cpu/strides.h"

namespace cnnkern::cpu {
namespace {

constexpr int64_t enough_tasks = 8;

struct Block {
  int64_t positions, windows, channels;  // input elements and outputs of a channel; channels
  int64_t step, window_step;             // from one to the next of them
  int64_t row;                           // windows that are done between two fills

  /// Input elements that the windows before `window` may reach.
  int64_t reach(const PoolProblem& p, int64_t window) const {
    if (p.input.d > 1 || window >= windows) return positions;
    const int64_t last_row = (window - 1) / row;
    const int64_t rows = last_row * p.stride.h - p.pad.h + p.footprint(1);
    return std::clamp<int64_t>(rows, 0, p.input.h) * p.input.w;
  }
};

// The positions that offsets name. Every plane has the same windows, so the sums of products are
// taken once.
class TapPositions {
 public:
  explicit TapPositions(const PoolProblem& p) {
    if (p.indices != PoolIndices::offsets) return;
    const auto flat = [&](int64_t d, int64_t h, int64_t w) {
      return (d * p.input.h + h) * p.input.w + w;
    };
    from_start_.fill(std::numeric_limits<int64_t>::min() / 2);  // of no tap: outside the plane
    auto* next = from_start_.data();
    for (int64_t t = 0; t < p.window.d; ++t)
      for (int64_t r = 0; r < p.window.h; ++r)
        for (int64_t s = 0; s < p.window.w; ++s)
          *next++ = flat(t * p.dilation.d, r * p.dilation.h, s * p.dilation.w);
    for (int64_t z = 0; z < p.output.d; ++z)
      for (int64_t y = 0; y < p.output.h; ++y)
        for (int64_t x = 0; x < p.output.w; ++x)
          starts_.push_back(
              flat(z * p.stride.d - p.pad.d, y * p.stride.h - p.pad.h, x * p.stride.w - p.pad.w));
  }

  int64_t operator()(int64_t window, uint8_t offset) const {
    return starts_[window] + from_start_[offset];
  }

 private:
  std::vector<int64_t> starts_;            // of the windows of a plane
  std::array<int64_t, 256> from_start_{};  // to the tap of that number
};

template <class T, class A, class PositionOf>
void add_plane(int64_t positions, int64_t windows, const T* gradient, const PositionOf& position_of,
               A* sums) {
  std::fill_n(sums, positions, A(0));
#pragma GCC unroll 4
  for (int64_t window = 0; window < windows; ++window) {
    const int64_t at = position_of(window);
    if (static_cast<uint64_t>(at) < static_cast<uint64_t>(positions))
      sums[at] += static_cast<A>(gradient[window]);
  }
}

// nchw: planes lie one after the other.
template <class T>
void scatter_planes(const PoolProblem& p, const PoolTensors& tensors, const ParallelFor& parallel) {
  using A = accumulator_t<T>;
  const int64_t positions = p.input.volume(), windows = p.output.volume();
  T* const grad_input = static_cast<T*>(tensors.input);
  const T* const gradient = static_cast<const T*>(tensors.output);
  const TapPositions taps(p);
  parallel(p.n * p.c, [&](int64_t begin, int64_t end) {
    std::vector<A> copy(std::is_same_v<T, A> ? 0 : positions);
    for (int64_t plane = begin; plane < end; ++plane) {
      T* const to = grad_input + plane * positions;
      const int64_t first = plane * windows;
      A* sums = copy.data();
      if constexpr (std::is_same_v<T, A>) sums = to;
      if (tensors.offsets) {
        const uint8_t* const offset = tensors.offsets + first;
        const auto position_of = [&](int64_t window) { return taps(window, offset[window]); };
        add_plane(positions, windows, gradient + first, position_of, sums);
      } else {
        const int64_t* const index = tensors.indices + first;
        const auto position_of = [&](int64_t window) { return index[window]; };
        add_plane(positions, windows, gradient + first, position_of, sums);
      }
      if constexpr (!std::is_same_v<T, A>)
        for (int64_t i = 0; i < positions; ++i) to[i] = static_cast<T>(copy[i]);
    }
  });
}

// A row of windows at a time, zeroing the input's rows just before: the block outgrows the cache.
template <class T, class A>
void add_channels(const PoolProblem& p, const Block& block, const T* gradient, const int64_t* index,
                  A* sums) {
  int64_t zeroed = 0;
  for (int64_t first = 0; first < block.windows || zeroed < block.positions; first += block.row) {
    const int64_t end = std::min(first + block.row, block.windows), reach = block.reach(p, end);
    for (; zeroed < reach; ++zeroed) std::fill_n(sums + zeroed * block.step, block.channels, A(0));
    for (int64_t window = first; window < end; ++window) {
      const int64_t* const at = index + window * block.window_step;
      const T* const from = gradient + window * block.window_step;
      for (int64_t c = 0; c < block.channels; ++c)
        if (static_cast<uint64_t>(at[c]) < static_cast<uint64_t>(zeroed))
          sums[at[c] * block.step + c] += static_cast<A>(from[c]);
    }
  }
}

// nhwc: a task owns a block of channels of one image.
template <class T>
void scatter_channels(const PoolProblem& p, const PoolTensors& tensors,
                      const ParallelFor& parallel) {
  using A = accumulator_t<T>;
  const Strides in = dense_strides(p.layout, p.c, p.input);
  const Strides out = dense_strides(p.layout, p.c, p.output);
  const auto blocks_of = [&](int64_t bytes) {
    const int64_t channels = bytes / static_cast<int64_t>(sizeof(T));
    return p.n * ((p.c + channels - 1) / channels);
  };
  const bool wide = std::is_same_v<T, A> && blocks_of(1024) >= enough_tasks;
  const int64_t bytes = wide ? 1024 : 256;
  const int64_t block = bytes / static_cast<int64_t>(sizeof(T));
  const int64_t blocks = (p.c + block - 1) / block;
  const int64_t positions = p.input.volume(), windows = p.output.volume();
  parallel(p.n * blocks, [&](int64_t begin, int64_t end) {
    std::vector<A> copy(std::is_same_v<T, A> ? 0 : positions * block);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t n = task / blocks, first = task % blocks * block;
      const int64_t channels = std::min(block, p.c - first);
      T* const to = static_cast<T*>(tensors.input) + n * in.n + first * in.c;
      const int64_t offset = n * out.n + first * out.c;
      const T* const gradient = static_cast<const T*>(tensors.output) + offset;
      const int64_t* const index = tensors.indices + offset;

      A* sums = copy.data();
      int64_t step = block;  // from one position to the next
      if constexpr (std::is_same_v<T, A>) {
        sums = to;
        step = in.space.w;
      }
      const Block shape{positions, windows, channels, step, out.space.w, p.output.w};
      add_channels(p, shape, gradient, index, sums);
      if constexpr (!std::is_same_v<T, A>)
        for (int64_t i = 0; i < positions; ++i)
          for (int64_t c = 0; c < channels; ++c)
            to[i * in.space.w + c] = static_cast<T>(sums[i * step + c]);
    }
  });
}

}  // namespace

void max_pool_scatter(const PoolProblem& problem, const PoolTensors& tensors,
                      const ParallelFor& parallel) {
  dispatch(problem.dtype, [&]<class T>(T) {
    if (problem.layout == Layout::nchw) scatter_planes<T>(problem, tensors, parallel);
    else scatter_channels<T>(problem, tensors, parallel);
  });
}

}  // namespace cnnkern::cpu
