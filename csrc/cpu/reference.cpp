#include "cpu/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/strides.h"

namespace cnnkern::cpu {
namespace {

// Calls body(d, h, w) for every position of an extent, in row-major order.
template <class Body>
void for_each(const Extent3& extent, Body&& body) {
  for (int64_t d = 0; d < extent.d; ++d)
    for (int64_t h = 0; h < extent.h; ++h)
      for (int64_t w = 0; w < extent.w; ++w) body(d, h, w);
}

bool inside(int64_t d, int64_t h, int64_t w, const Extent3& extent) {
  return d >= 0 && d < extent.d && h >= 0 && h < extent.h && w >= 0 && w < extent.w;
}

template <class T>
struct Conv {
  using Sum = accumulator_t<T>;

  const ConvProblem& p;
  T* input;
  T* weight;
  T* output;
  const T *bias, *residual;
  T* preactivation;
  Strides in, filter, out;

  Conv(const ConvProblem& problem, const ConvTensors& tensors)
      : p(problem),
        input(static_cast<T*>(tensors.input)),
        weight(static_cast<T*>(tensors.weight)),
        output(static_cast<T*>(tensors.output)),
        bias(static_cast<const T*>(tensors.bias)),
        residual(static_cast<const T*>(tensors.residual)),
        preactivation(static_cast<T*>(tensors.preactivation)),
        in(dense_strides(p.layout, p.c, p.input)),
        filter(dense_strides(p.layout, p.c_per_group(), p.filter)),
        out(dense_strides(p.layout, p.k, p.output)) {}

  Sum product(const T& a, const T& b) const { return static_cast<Sum>(a) * static_cast<Sum>(b); }

  // The input coordinate that output position o and tap t meet at along an axis.
  int64_t input_at(int axis, int64_t o, int64_t t) const {
    return o * p.stride[axis] + t * p.dilation[axis] - p.pad_begin[axis];
  }

  // The inverse: the output position that sees input coordinate i through tap t; −1 if none does.
  int64_t output_at(int axis, int64_t i, int64_t t) const {
    const int64_t scaled = i + p.pad_begin[axis] - t * p.dilation[axis];
    return scaled >= 0 && scaled % p.stride[axis] == 0 ? scaled / p.stride[axis] : -1;
  }

  void fprop(int64_t n, int64_t k) const {
    const int64_t first_c = k / p.k_per_group() * p.c_per_group();
    for_each(p.output, [&](int64_t z, int64_t y, int64_t x) {
      Sum sum = bias ? static_cast<Sum>(bias[k]) : Sum(0);
      for (int64_t c = 0; c < p.c_per_group(); ++c)
        for_each(p.filter, [&](int64_t t, int64_t r, int64_t s) {
          const int64_t d = input_at(0, z, t), h = input_at(1, y, r), w = input_at(2, x, s);
          if (inside(d, h, w, p.input))
            sum += product(weight[filter.at(k, c, t, r, s)], input[in.at(n, first_c + c, d, h, w)]);
        });
      const int64_t at = out.at(n, k, z, y, x);
      if (residual) sum += static_cast<Sum>(residual[at]);
      if (preactivation) preactivation[at] = static_cast<T>(sum);
      output[at] = static_cast<T>(activate(p.activation, sum));
    });
  }

  void dgrad(int64_t n, int64_t c) const {
    const int64_t group = c / p.c_per_group(), c_in_group = c % p.c_per_group();
    for_each(p.input, [&](int64_t d, int64_t h, int64_t w) {
      Sum sum = bias ? static_cast<Sum>(bias[c]) : Sum(0);
      for (int64_t k = group * p.k_per_group(); k < (group + 1) * p.k_per_group(); ++k)
        for_each(p.filter, [&](int64_t t, int64_t r, int64_t s) {
          const int64_t z = output_at(0, d, t), y = output_at(1, h, r), x = output_at(2, w, s);
          if (inside(z, y, x, p.output))
            sum +=
                product(weight[filter.at(k, c_in_group, t, r, s)], output[out.at(n, k, z, y, x)]);
        });
      input[in.at(n, c, d, h, w)] = static_cast<T>(sum);
    });
  }

  void wgrad(int64_t k, int64_t c_in_group) const {
    const int64_t c = k / p.k_per_group() * p.c_per_group() + c_in_group;
    for_each(p.filter, [&](int64_t t, int64_t r, int64_t s) {
      Sum sum = 0;
      for (int64_t n = 0; n < p.n; ++n)
        for_each({p.output.d, p.output.h, 1}, [&](int64_t z, int64_t y, int64_t) {
          Sum row = 0;  // of its own: one chain through all pixels would round too often
          for (int64_t x = 0; x < p.output.w; ++x) {
            const int64_t d = input_at(0, z, t), h = input_at(1, y, r), w = input_at(2, x, s);
            if (inside(d, h, w, p.input))
              row += product(output[out.at(n, k, z, y, x)], input[in.at(n, c, d, h, w)]);
          }
          sum += row;
        });
      weight[filter.at(k, c_in_group, t, r, s)] = static_cast<T>(sum);
    });
  }
};

template <class T>
struct MaxPool {
  const PoolProblem& p;
  T* input;
  T* output;
  int64_t* indices;
  uint8_t* offsets;
  Strides in, out;

  MaxPool(const PoolProblem& problem, const PoolTensors& tensors)
      : p(problem),
        input(static_cast<T*>(tensors.input)),
        output(static_cast<T*>(tensors.output)),
        indices(tensors.indices),
        offsets(tensors.offsets),
        in(dense_strides(p.layout, p.c, p.input)),
        out(dense_strides(p.layout, p.c, p.output)) {}

  int64_t flat(int64_t d, int64_t h, int64_t w) const {
    return (d * p.input.h + h) * p.input.w + w;
  }

  // The position of the tap of that number, or -1.
  int64_t position_of(int64_t z, int64_t y, int64_t x, int64_t number) const {
    const int64_t s = number % p.window.w, r = number / p.window.w % p.window.h;
    const int64_t t = number / p.window.w / p.window.h;
    const int64_t d = z * p.stride.d + t * p.dilation.d - p.pad.d;
    const int64_t h = y * p.stride.h + r * p.dilation.h - p.pad.h;
    const int64_t w = x * p.stride.w + s * p.dilation.w - p.pad.w;
    return t < p.window.d && inside(d, h, w, p.input) ? flat(d, h, w) : -1;
  }

  // The position saved for a window, `at` of them.
  int64_t saved(int64_t z, int64_t y, int64_t x, int64_t at) const {
    return offsets ? position_of(z, y, x, offsets[at]) : indices[at];
  }

  void forward(int64_t n, int64_t c) const {
    using Value = std::conditional_t<std::is_integral_v<T>, T, accumulator_t<T>>;
    using Limits = std::numeric_limits<Value>;
    for_each(p.output, [&](int64_t z, int64_t y, int64_t x) {
      Value best = Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
      int64_t best_index = -1, best_number = -1;
      for_each(p.window, [&](int64_t t, int64_t r, int64_t s) {
        const int64_t d = z * p.stride.d + t * p.dilation.d - p.pad.d;
        const int64_t h = y * p.stride.h + r * p.dilation.h - p.pad.h;
        const int64_t w = x * p.stride.w + s * p.dilation.w - p.pad.w;
        if (!inside(d, h, w, p.input)) return;
        const auto value = static_cast<Value>(input[in.at(n, c, d, h, w)]);
        if (best_index < 0 || value > best || std::isnan(value)) {
          best = value;
          best_index = flat(d, h, w);
          best_number = (t * p.window.h + r) * p.window.w + s;
        }
      });
      const int64_t at = out.at(n, c, z, y, x);
      output[at] = static_cast<T>(best);
      if (indices) indices[at] = best_index;
      if (offsets) offsets[at] = static_cast<uint8_t>(best_number);
    });
  }

  // The windows that reach coordinate i along an axis: [first, last].
  int64_t first_window(int axis, int64_t i) const {
    const int64_t reach = i + p.pad[axis] - p.footprint(axis) + 1;
    return reach <= 0 ? 0 : (reach + p.stride[axis] - 1) / p.stride[axis];
  }
  int64_t last_window(int axis, int64_t i) const {
    return std::min(p.output[axis] - 1, (i + p.pad[axis]) / p.stride[axis]);
  }

  void backward(int64_t n, int64_t c) const {
    for_each(p.input, [&](int64_t d, int64_t h, int64_t w) {
      accumulator_t<T> sum = 0;
      for (int64_t z = first_window(0, d); z <= last_window(0, d); ++z)
        for (int64_t y = first_window(1, h); y <= last_window(1, h); ++y)
          for (int64_t x = first_window(2, w); x <= last_window(2, w); ++x) {
            const int64_t at = out.at(n, c, z, y, x);
            if (saved(z, y, x, at) == flat(d, h, w))
              sum += static_cast<accumulator_t<T>>(output[at]);
          }
      input[in.at(n, c, d, h, w)] = static_cast<T>(sum);
    });
  }

  void gather(int64_t n, int64_t c) const {
    for_each(p.output, [&](int64_t z, int64_t y, int64_t x) {
      const int64_t at = out.at(n, c, z, y, x), index = saved(z, y, x, at);
      const bool valid = index >= 0 && index < p.input.volume();
      output[at] = valid ? input[in.at(n, c, 0, 0, 0) + index * in.space.w] : T(0.0f);
    });
  }
};

// body(row, column) for every pair, rows × columns tasks.
template <class Body>
void for_each_pair(int64_t rows, int64_t columns, const ParallelFor& parallel, Body&& body) {
  parallel(rows * columns, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) body(task / columns, task % columns);
  });
}

}  // namespace

void reference_conv(const ConvProblem& problem, const ConvTensors& tensors,
                    const ParallelFor& parallel) {
  dispatch_all(problem.dtype, [&]<class T>(T) {
    const Conv<T> conv(problem, tensors);
    switch (problem.direction) {
      case ConvDirection::fprop:
        return for_each_pair(problem.n, problem.k, parallel,
                             [&](int64_t n, int64_t k) { conv.fprop(n, k); });
      case ConvDirection::dgrad:
        return for_each_pair(problem.n, problem.c, parallel,
                             [&](int64_t n, int64_t c) { conv.dgrad(n, c); });
      case ConvDirection::wgrad:
        return for_each_pair(problem.k, problem.c_per_group(), parallel,
                             [&](int64_t k, int64_t c) { conv.wgrad(k, c); });
    }
  });
}

void reference_bias_grad(const ConvProblem& problem, const ConvTensors& tensors, void* grad_bias) {
  dispatch_all(problem.dtype, [&]<class T>(T) {
    const Strides out = dense_strides(problem.layout, problem.k, problem.output);
    for (int64_t k = 0; k < problem.k; ++k) {
      accumulator_t<T> sum = 0;
      for (int64_t n = 0; n < problem.n; ++n)
        for_each(problem.output, [&](int64_t z, int64_t y, int64_t x) {
          const T& gradient = static_cast<const T*>(tensors.output)[out.at(n, k, z, y, x)];
          sum += static_cast<accumulator_t<T>>(gradient);
        });
      static_cast<T*>(grad_bias)[k] = static_cast<T>(sum);
    }
  });
}

void reference_pool(const PoolProblem& problem, const PoolTensors& tensors,
                    const ParallelFor& parallel) {
  dispatch_all(problem.dtype, [&]<class T>(T) {
    const MaxPool<T> pool(problem, tensors);
    for_each_pair(problem.n, problem.c, parallel, [&](int64_t n, int64_t c) {
      switch (problem.direction) {
        case PoolDirection::forward: return pool.forward(n, c);
        case PoolDirection::backward: return pool.backward(n, c);
        case PoolDirection::gather: return pool.gather(n, c);
      }
    });
  });
}

}  // namespace cnnkern::cpu
