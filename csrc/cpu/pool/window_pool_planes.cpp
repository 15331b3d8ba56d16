// Adaptive and fractional max pooling and unpooling, plane by plane.
//
// A task owns a block of channels of one image, so that no two threads write to the same plane and
// every order is fixed. In nchw a block is one plane; in nhwc it is four cache lines of channels,
// which share each line that is read. Windows of adaptive pooling are found once, those of
// fractional pooling once a plane. unpool scatters in the order of the windows, so that the last of
// several values stays; backward is that of any max pooling.
#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/pool/max_pool.h"
#include "cpu/pool/window_pool.h"
#include "cpu/strides.h"

namespace cnnkern::cpu {
namespace {

// The windows of one axis: begin[o], …, end[o] − 1.
struct Axis {
  std::vector<int64_t> begin, end;
};

Axis adaptive_axis(const WindowPoolProblem& p, int axis) {
  const int64_t size = p.input[axis], windows = p.output[axis];
  Axis result;
  for (int64_t o = 0; o < windows; ++o) {
    result.begin.push_back(o * size / windows);
    result.end.push_back(((o + 1) * size + windows - 1) / windows);
  }
  return result;
}

template <class T>
class Planes {
  using A = accumulator_t<T>;

 public:
  Planes(const WindowPoolProblem& problem, const WindowPoolTensors& tensors)
      : p(problem),
        input_(static_cast<T*>(tensors.input)),
        output_(static_cast<T*>(tensors.output)),
        indices_(tensors.indices),
        samples_(static_cast<const T*>(tensors.samples)),
        in_(dense_strides(p.layout, p.c, p.input)),
        out_(dense_strides(p.layout, p.c, p.output)),
        block_(p.layout == Layout::nchw ? 1 : 256 / static_cast<int64_t>(sizeof(T))),
        blocks_((p.c + block_ - 1) / block_) {}

  void run(const ParallelFor& parallel) const {
    const bool forward = p.direction == WindowPoolDirection::forward;
    std::vector<Axis> adaptive;  // of axes d, h, w
    if (forward && !p.fractional)
      for (int axis = 0; axis < 3; ++axis) adaptive.push_back(adaptive_axis(p, axis));
    std::atomic<bool> invalid = false;
    parallel(p.n * blocks_, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t n = task / blocks_, first = task % blocks_ * block_;
        const int64_t channels = std::min(block_, p.c - first);
        if (forward) pool(n, first, channels, adaptive);
        else if (!place(n, first, channels)) invalid = true;
      }
    });
    if (invalid) fail();
  }

 private:
  // The windows of one plane: from its samples, or the ones that all planes have.
  std::vector<Axis> axes_of(int64_t plane) const {
    std::vector<Axis> axes;
    for (int axis = 0; axis < 3; ++axis) {
      const int own = axis - 3 + p.spatial_dims;
      if (own < 0) {
        axes.push_back({{0}, {1}});
        continue;
      }
      const FractionalAxis<T> steps(p.input[axis], p.window[axis], p.output[axis]);
      const A sample = static_cast<A>(samples_[plane * p.spatial_dims + own]);
      Axis& made = axes.emplace_back();
      for (int64_t o = 0; o < p.output[axis]; ++o) {
        made.begin.push_back(steps.begin(o, sample));
        made.end.push_back(made.begin.back() + p.window[axis]);
      }
    }
    return axes;
  }

  void pool(int64_t n, int64_t first, int64_t channels, const std::vector<Axis>& adaptive) const {
    std::vector<std::vector<Axis>> fractional;
    if (p.fractional)
      for (int64_t c = 0; c < channels; ++c) fractional.push_back(axes_of(n * p.c + first + c));
    for (int64_t z = 0; z < p.output.d; ++z)
      for (int64_t y = 0; y < p.output.h; ++y)
        for (int64_t x = 0; x < p.output.w; ++x)
          for (int64_t c = 0; c < channels; ++c) {
            const std::vector<Axis>& axes = p.fractional ? fractional[c] : adaptive;
            const int64_t to = out_.at(n, first + c, z, y, x);
            const int64_t at =
                largest(input_ + in_.at(n, first + c, 0, 0, 0), axes[0].begin[z], axes[0].end[z],
                        axes[1].begin[y], axes[1].end[y], axes[2].begin[x], axes[2].end[x]);
            output_[to] = input_[in_.at(n, first + c, 0, 0, 0) + at * in_.space.w];
            indices_[to] = at;
          }
  }

  // The position in its plane of a window's maximum.
  int64_t largest(const T* plane, int64_t d0, int64_t d1, int64_t h0, int64_t h1, int64_t w0,
                  int64_t w1) const {
    int64_t position = (d0 * p.input.h + h0) * p.input.w + w0;
    A best = static_cast<A>(plane[position * in_.space.w]);
    for (int64_t d = d0; d < d1; ++d)
      for (int64_t h = h0; h < h1; ++h)
        for (int64_t w = w0; w < w1; ++w) {
          const int64_t at = (d * p.input.h + h) * p.input.w + w;
          const A value = static_cast<A>(plane[at * in_.space.w]);
          if (value > best || value != value) {  // NaN wins
            best = value;
            position = at;
          }
        }
    return position;
  }

  bool inside(int64_t position) const { return position >= 0 && position < p.input.volume(); }

  // False if an index lies outside its plane.
  bool place(int64_t n, int64_t first, int64_t channels) const {
    const int64_t from = n * out_.n + first * out_.c;
    T* const to = input_ + n * in_.n + first * in_.c;
    for (int64_t i = 0; i < p.input.volume(); ++i)
      for (int64_t c = 0; c < channels; ++c) to[i * in_.space.w + c] = T(0.0f);
    bool valid = true;
    for (int64_t i = 0; i < p.output.volume(); ++i)
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t at = from + i * out_.space.w + c;
        if (inside(indices_[at])) to[indices_[at] * in_.space.w + c] = output_[at];
        else valid = false;
      }
    return valid;
  }

  [[noreturn]] void fail() const {
    const int64_t* const bad = std::find_if(indices_, indices_ + p.output_elements(),
                                            [&](int64_t position) { return !inside(position); });
    std::string sizes;
    for (int axis = p.spatial_dims == 3 ? 0 : 1; axis < 3; ++axis) {
      if (!sizes.empty()) sizes += 'x';
      sizes += std::to_string(p.input[axis]);
    }
    if (p.spatial_dims == 1) sizes = std::to_string(p.input.w) + "x1";
    throw std::runtime_error("max_unpool: Found an invalid max index: " + std::to_string(*bad) +
                             " (output volumes are of size " + sizes + ")");
  }

  const WindowPoolProblem& p;
  T *input_, *output_;
  int64_t* indices_;
  const T* samples_;
  Strides in_, out_;
  int64_t block_, blocks_;
};

}  // namespace

PoolProblem as_max_pool(const WindowPoolProblem& problem) {
  PoolProblem pool;
  pool.direction = problem.direction == WindowPoolDirection::forward ? PoolDirection::forward
                                                                     : PoolDirection::backward;
  pool.dtype = problem.dtype;
  pool.layout = problem.layout;
  pool.spatial_dims = problem.spatial_dims;
  pool.n = problem.n, pool.c = problem.c;
  pool.input = pool.window = problem.input;  // a window may lie anywhere
  pool.output = problem.output;
  pool.stride = pool.dilation = {1, 1, 1};
  return pool;
}

void window_pool_planes(const WindowPoolProblem& problem, const WindowPoolTensors& tensors,
                        const ParallelFor& parallel) {
  if (problem.direction == WindowPoolDirection::backward)
    return max_pool_scatter(as_max_pool(problem), {tensors.input, tensors.output, tensors.indices},
                            parallel);
  dispatch(problem.dtype, [&]<class T>(T) { Planes<T>(problem, tensors).run(parallel); });
}

}  // namespace cnnkern::cpu
