#include "cpu/reference_avg_pool.h"

#include <algorithm>
#include <type_traits>
#include <vector>

#include "cpu/strides.h"

namespace cnnkern::cpu {
namespace {

// One axis of one window: every tap, and how many of them the divisor counts.
struct Taps {
  std::vector<int64_t> inside;
  int64_t count = 0;

  Taps(const AvgPoolProblem& p, int axis, int64_t o) {
    const int64_t size = p.input[axis];
    if (p.adaptive) {
      const int64_t windows = p.output[axis];
      for (int64_t i = 0; i < size; ++i)
        if ((i + 1) * windows > o * size && i * windows < (o + 1) * size) inside.push_back(i);
      count = static_cast<int64_t>(inside.size());
      return;
    }
    for (int64_t t = 0; t < p.window[axis]; ++t) {
      const int64_t i = o * p.stride[axis] + t * p.dilation[axis] - p.pad[axis];
      if (i >= size + p.pad[axis]) break;
      if (i >= 0 && i < size) inside.push_back(i);
      if (p.count_include_pad || (i >= 0 && i < size)) ++count;
    }
    count = std::max<int64_t>(count, 1);
  }
};

// body(z, p, q, divisor, flat position of each tap) for each window of a plane.
template <class Body>
void for_each_window(const AvgPoolProblem& p, Body&& body) {
  for (int64_t z = 0; z < p.output.d; ++z)
    for (int64_t y = 0; y < p.output.h; ++y)
      for (int64_t x = 0; x < p.output.w; ++x) {
        const Taps d(p, 0, z), h(p, 1, y), w(p, 2, x);
        std::vector<int64_t> taps;
        for (const int64_t i : d.inside)
          for (const int64_t j : h.inside)
            for (const int64_t k : w.inside) taps.push_back((i * p.input.h + j) * p.input.w + k);
        body(z, y, x, p.divisor != 0 ? p.divisor : d.count * h.count * w.count, taps);
      }
}

// Integers wrap around in the sum, and are then divided as C does, towards zero.
template <class T>
T quotient(accumulator_t<T> sum, int64_t divisor) {
  if constexpr (std::is_integral_v<T>) return static_cast<T>(static_cast<T>(sum) / divisor);
  else return static_cast<T>(sum / static_cast<accumulator_t<T>>(divisor));
}

// Halves are added, so that rounding errors grow with the logarithm of the number of terms.
template <class A, class Term>
A pairwise_sum(int64_t begin, int64_t end, const Term& term) {
  if (end - begin > 8) {
    const int64_t middle = begin + (end - begin) / 2;
    return pairwise_sum<A>(begin, middle, term) + pairwise_sum<A>(middle, end, term);
  }
  A sum = 0;
  for (int64_t i = begin; i < end; ++i) sum += term(i);
  return sum;
}

template <class T>
void pool_plane(const AvgPoolProblem& p, const AvgPoolTensors& tensors, int64_t n, int64_t c) {
  using A = accumulator_t<T>;
  const Strides in = dense_strides(p.layout, p.c, p.input);
  const Strides out = dense_strides(p.layout, p.c, p.output);
  T* const input = static_cast<T*>(tensors.input) + in.at(n, c, 0, 0, 0);
  T* const output = static_cast<T*>(tensors.output) + out.at(n, c, 0, 0, 0);
  if (p.direction == AvgPoolDirection::forward) {
    for_each_window(p, [&](int64_t z, int64_t y, int64_t x, int64_t divisor, const auto& taps) {
      const A sum = pairwise_sum<A>(0, static_cast<int64_t>(taps.size()), [&](int64_t i) {
        return static_cast<A>(input[taps[i] * in.space.w]);
      });
      output[out.at(0, 0, z, y, x)] = quotient<T>(sum, divisor);
    });
    return;
  }
  std::vector<A> sums(p.input.volume(), A(0));
  for_each_window(p, [&](int64_t z, int64_t y, int64_t x, int64_t divisor, const auto& taps) {
    const A gradient = static_cast<A>(output[out.at(0, 0, z, y, x)]);
    for (const int64_t at : taps) sums[at] += gradient / static_cast<A>(divisor);
  });
  for (int64_t i = 0; i < p.input.volume(); ++i) input[i * in.space.w] = static_cast<T>(sums[i]);
}

}  // namespace

void reference_avg_pool(const AvgPoolProblem& problem, const AvgPoolTensors& tensors,
                        const ParallelFor& parallel) {
  dispatch_all(problem.dtype, [&]<class T>(T) {
    parallel(problem.n * problem.c, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task)
        pool_plane<T>(problem, tensors, task / problem.c, task % problem.c);
    });
  });
}

}  // namespace cnnkern::cpu
