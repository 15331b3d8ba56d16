// Average pooling on sparse tensors; see large_problems.h. Windows of a power of two taps, so that
// quotients are exact.
#pragma once

#include "cuda/pool/avg_pool_plan.h"
#include "large_problems.h"

namespace cnnkern {

class LargeAvgPool {
 public:
  LargeAvgPool(const AvgPoolProblem& problem, const PoolPlan& plan)
      : p_(problem),
        plan_(plan),
        in_(cpu::dense_strides(p_.layout, p_.c, p_.input)),
        out_(cpu::dense_strides(p_.layout, p_.c, p_.output)),
        input_(p_.input_elements()),
        output_(p_.output_elements()),
        divisor_(p_.uniform_divisor()) {
    if (divisor_ == 0 || (divisor_ & (divisor_ - 1)) != 0)
      throw std::invalid_argument("expected windows of a power of two taps");
  }

  AvgPoolTensors tensors() { return {input_.data(), output_.data()}; }

  void expect(uint64_t block) {
    const bool backward = p_.direction == AvgPoolDirection::backward;
    for (const int64_t offset :
         elements_of_threads(block, plan_.grid[0], makers(), p_.result_elements())) {
      const Position here(p_.layout, p_.c, backward ? p_.input : p_.output, offset);
      float sum = 0;
      for_each(p_.window, [&](const Extent3& tap) {
        const Extent3 there = backward ? window_with(here.at, tap) : tap_of(here.at, tap);
        if (!inside(there, backward ? p_.output : p_.input)) return;
        sum += backward ? touch(output_, at(out_, here.n, here.c, there))
                        : touch(input_, at(in_, here.n, here.c, there));
      });
      expected_.add(backward ? input_ : output_, offset, sum / static_cast<float>(divisor_));
    }
  }

  void check() {
    expected_.check(p_.direction == AvgPoolDirection::backward ? input_ : output_, "the result");
  }

 private:
  /// How many elements a block makes, one after another in memory.
  int64_t makers() const {
    if (plan_.kernel != global_avg_pool) return plan_.threads * plan_.vector;
    const int64_t warps = plan_.threads / 32;
    return p_.layout == Layout::nhwc ? 32 * plan_.vector : warps / plane_warps(p_);
  }

  Extent3 tap_of(const Extent3& o, const Extent3& tap) const {
    Extent3 i;
    for (int axis = 0; axis < 3; ++axis)
      i[axis] = o[axis] * p_.stride[axis] + tap[axis] * p_.dilation[axis] - p_.pad[axis];
    return i;
  }

  Extent3 window_with(const Extent3& i, const Extent3& tap) const {
    Extent3 o;
    for (int axis = 0; axis < 3; ++axis) {
      const int64_t scaled = i[axis] + p_.pad[axis] - tap[axis] * p_.dilation[axis];
      o[axis] = scaled % p_.stride[axis] == 0 ? scaled / p_.stride[axis] : -1;
    }
    return o;
  }

  AvgPoolProblem p_;
  PoolPlan plan_;
  cpu::Strides in_, out_;
  SparseTensor<float> input_, output_;
  int64_t divisor_;
  Expectation<float> expected_;
};

}  // namespace cnnkern
