#include "cpu/reference_window_pool.h"

#include <cmath>
#include <vector>

#include "cpu/strides.h"

namespace cnnkern::cpu {
namespace {

// The taps of one window along one axis.
std::vector<int64_t> adaptive_taps(const WindowPoolProblem& p, int axis, int64_t o) {
  const int64_t size = p.input[axis], windows = p.output[axis];
  std::vector<int64_t> taps;
  for (int64_t i = 0; i < size; ++i)
    if ((i + 1) * windows > o * size && i * windows < (o + 1) * size) taps.push_back(i);
  return taps;
}

template <class T>
std::vector<int64_t> fractional_taps(const WindowPoolProblem& p, int axis, int64_t o, T sample) {
  const FractionalAxis<T> steps(p.input[axis], p.window[axis], p.output[axis]);
  std::vector<int64_t> taps;
  for (int64_t t = 0; t < p.window[axis]; ++t)
    taps.push_back(steps.begin(o, static_cast<accumulator_t<T>>(sample)) + t);
  return taps;
}

template <class T>
class Plane {
  using A = accumulator_t<T>;

 public:
  Plane(const WindowPoolProblem& problem, const WindowPoolTensors& tensors, int64_t n, int64_t c)
      : p(problem),
        in_(dense_strides(p.layout, p.c, p.input)),
        out_(dense_strides(p.layout, p.c, p.output)),
        input_(static_cast<T*>(tensors.input) + in_.at(n, c, 0, 0, 0)),
        output_(static_cast<T*>(tensors.output) + out_.at(n, c, 0, 0, 0)),
        indices_(tensors.indices + out_.at(n, c, 0, 0, 0)),
        samples_(static_cast<const T*>(tensors.samples)) {
    if (p.fractional) samples_ += (n * p.c + c) * p.spatial_dims;
  }

  void forward() const {
    int64_t window = 0;
    for (int64_t z = 0; z < p.output.d; ++z)
      for (int64_t y = 0; y < p.output.h; ++y)
        for (int64_t x = 0; x < p.output.w; ++x, ++window) {
          int64_t best = -1;
          for (const int64_t d : taps(0, z))
            for (const int64_t h : taps(1, y))
              for (const int64_t w : taps(2, x)) {
                const int64_t at = (d * p.input.h + h) * p.input.w + w;
                if (best < 0 || value(at) > value(best) || std::isnan(value(at))) best = at;
              }
          output_[window * out_.space.w] = input_[best * in_.space.w];
          indices_[window * out_.space.w] = best;
        }
  }

  void backward() const {
    std::vector<A> sums(p.input.volume(), A(0));
    for (int64_t window = 0; window < p.output.volume(); ++window)
      if (inside(index(window)))
        sums[index(window)] += static_cast<A>(output_[window * out_.space.w]);
    for (int64_t i = 0; i < p.input.volume(); ++i) input_[i * in_.space.w] = T(sums[i]);
  }

  void unpool() const {
    for (int64_t i = 0; i < p.input.volume(); ++i) input_[i * in_.space.w] = T(0.0f);
    for (int64_t i = 0; i < p.output.volume(); ++i)
      if (inside(index(i))) input_[index(i) * in_.space.w] = output_[i * out_.space.w];
  }

 private:
  A value(int64_t at) const { return static_cast<A>(input_[at * in_.space.w]); }
  bool inside(int64_t at) const { return at >= 0 && at < p.input.volume(); }
  int64_t index(int64_t window) const { return indices_[window * out_.space.w]; }

  std::vector<int64_t> taps(int axis, int64_t o) const {
    const int own = axis - 3 + p.spatial_dims;
    if (!p.fractional || own < 0) return adaptive_taps(p, axis, o);
    return fractional_taps(p, axis, o, samples_[own]);
  }

  const WindowPoolProblem& p;
  Strides in_, out_;
  T *input_, *output_;
  int64_t* indices_;
  const T* samples_;
};

}  // namespace

void reference_window_pool(const WindowPoolProblem& problem, const WindowPoolTensors& tensors,
                           const ParallelFor& parallel) {
  dispatch(problem.dtype, [&]<class T>(T) {
    parallel(problem.n * problem.c, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const Plane<T> plane(problem, tensors, task / problem.c, task % problem.c);
        if (problem.direction == WindowPoolDirection::forward) plane.forward();
        else if (problem.direction == WindowPoolDirection::backward) plane.backward();
        else plane.unpool();
      }
    });
  });
}

}  // namespace cnnkern::cpu
