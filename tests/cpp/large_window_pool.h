// Adaptive max pooling and unpooling on sparse tensors; see large_problems.h.
#pragma once

#include "cuda/pool/window_pool_plan.h"
#include "large_problems.h"

namespace cnnkern {

class LargeWindowPool {
 public:
  LargeWindowPool(const WindowPoolProblem& problem, const PoolPlan& plan)
      : p_(problem),
        plan_(plan),
        in_(cpu::dense_strides(p_.layout, p_.c, p_.input)),
        out_(cpu::dense_strides(p_.layout, p_.c, p_.output)),
        input_(p_.input_elements()),
        output_(p_.output_elements()),
        indices_(p_.output_elements()) {
    if (p_.fractional) throw std::invalid_argument("expected adaptive windows");
  }

  WindowPoolTensors tensors() { return {input_.data(), output_.data(), indices_.data()}; }

  void expect(uint64_t block) {
    if (p_.direction == WindowPoolDirection::unpool) return expect_planes(block);
    const bool backward = p_.direction == WindowPoolDirection::backward;
    for (const int64_t offset : elements_of_threads(
             block, plan_.grid[0], plan_.threads * plan_.vector, p_.result_elements())) {
      const Position here(p_.layout, p_.c, backward ? p_.input : p_.output, offset);
      if (backward) expect_backward(here, offset);
      else expect_forward(here, offset);
    }
  }

  void check() {
    values_.check(p_.direction == WindowPoolDirection::forward ? output_ : input_, "the result");
    written_indices_.check(indices_, "the indices");
  }

 private:
  int64_t index_in_plane(const Extent3& i) const {
    return (i.d * p_.input.h + i.h) * p_.input.w + i.w;
  }

  Extent3 begin(const Extent3& o) const {
    Extent3 i;
    for (int axis = 0; axis < 3; ++axis) i[axis] = o[axis] * p_.input[axis] / p_.output[axis];
    return i;
  }

  bool sees(const Extent3& o, const Extent3& i) const {
    for (int axis = 0; axis < 3; ++axis)
      if ((i[axis] + 1) * p_.output[axis] <= o[axis] * p_.input[axis] ||
          i[axis] * p_.output[axis] >= (o[axis] + 1) * p_.input[axis])
        return false;
    return true;
  }

  static Extent3 sum(const Extent3& a, const Extent3& b, int64_t less) {
    return {a.d + b.d - less, a.h + b.h - less, a.w + b.w - less};
  }

  // Windows of up to four taps an axis.
  void expect_forward(const Position& y, int64_t offset) {
    float best = 0;
    int64_t best_index = -1;
    for_each({4, 4, 4}, [&](const Extent3& tap) {
      const Extent3 i = sum(begin(y.at), tap, 0);
      if (!inside(i, p_.input) || !sees(y.at, i)) return;
      const float value = touch(input_, at(in_, y.n, y.c, i));
      if (value > best) best = value, best_index = index_in_plane(i);
    });
    values_.add(output_, offset, best);
    written_indices_.add(indices_, offset, best_index);
  }

  /// Every window names the first of its taps.
  void expect_backward(const Position& x, int64_t offset) {
    Extent3 near;
    for (int axis = 0; axis < 3; ++axis) near[axis] = x.at[axis] * p_.output[axis] / p_.input[axis];
    float total = 0;
    for_each({3, 3, 3}, [&](const Extent3& beside) {
      const Extent3 o = sum(near, beside, 1);
      if (!inside(o, p_.output) || !sees(o, x.at)) return;
      const int64_t window = at(out_, x.n, x.c, o);
      const float gradient = touch(output_, window);
      indices_[window] = index_in_plane(begin(o));
      if (begin(o) == x.at) total += gradient;
    });
    values_.add(input_, offset, total);
  }

  /// A warp's plane; its values name positions in falling order.
  void expect_planes(uint64_t block) {
    for (int64_t warp = 0; warp < plan_.threads / 32; ++warp) {
      const int64_t plane = static_cast<int64_t>(block) * (plan_.threads / 32) + warp;
      if (plane >= p_.n * p_.c) return;
      int64_t position = p_.input.volume();
      for_each(p_.output, [&](const Extent3& o) {
        const int64_t n = plane / p_.c, c = plane % p_.c, from = at(out_, n, c, o);
        indices_[from] = --position;
        const Position there(Layout::nchw, 1, p_.input, position);
        values_.add(input_, at(in_, n, c, there.at), touch(output_, from));
      });
    }
  }

  WindowPoolProblem p_;
  PoolPlan plan_;
  cpu::Strides in_, out_;
  SparseTensor<float> input_, output_;
  SparseTensor<int64_t> indices_;
  Expectation<float> values_;
  Expectation<int64_t> written_indices_;
};

}  // namespace cnnkern
