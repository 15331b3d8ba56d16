// Convolutions and poolings on sparse tensors: what single blocks of a launch have to make.
//
// expect(block) walks the elements that a block makes by the definition, in 64 bits: it writes a
// small integer wherever the definition reads and notes what must come out. check() compares.
#pragma once

#include <algorithm>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/sentence.h"
#include "cpu/strides.h"
#include "cuda/conv/conv_plan.h"
#include "cuda/pool/max_pool_plan.h"
#include "sparse_tensor.h"

namespace cnnkern {

/// A number that looks random, always the same for an offset.
inline uint64_t hash(int64_t offset) {
  return (static_cast<uint64_t>(offset) * 0x9e3779b97f4a7c15u) >> 20;
}

/// Writes a small integer, always the same at an offset and never 0, and returns it.
template <class T>
accumulator_t<T> touch(SparseTensor<T>& tensor, int64_t offset) {
  const auto value = static_cast<accumulator_t<T>>(1 + hash(offset) % 7);
  tensor[offset] = T(value);
  return value;
}

/// The position of the element at an offset.
struct Position {
  int64_t n, c;
  Extent3 at;

  Position(Layout layout, int64_t channels, const Extent3& extent, int64_t offset) {
    if (layout == Layout::nhwc) c = offset % channels, offset /= channels;
    for (int axis = 2; axis >= 0; --axis) at[axis] = offset % extent[axis], offset /= extent[axis];
    if (layout == Layout::nchw) c = offset % channels, offset /= channels;
    n = offset;
  }
};

/// Calls body(d, h, w) for every position of an extent.
template <class Body>
void for_each(const Extent3& extent, Body&& body) {
  for (int64_t d = 0; d < extent.d; ++d)
    for (int64_t h = 0; h < extent.h; ++h)
      for (int64_t w = 0; w < extent.w; ++w) body(Extent3{d, h, w});
}

inline bool inside(const Extent3& at, const Extent3& extent) {
  for (int axis = 0; axis < 3; ++axis)
    if (at[axis] < 0 || at[axis] >= extent[axis]) return false;
  return true;
}

inline int64_t at(const cpu::Strides& strides, int64_t n, int64_t c, const Extent3& x) {
  return strides.at(n, c, x.d, x.h, x.w);
}

/// What must be at some offsets of a tensor after a block has run.
template <class T>
struct Expectation {
  std::map<int64_t, T> values;

  void add(SparseTensor<T>& tensor, int64_t offset, T value) {
    values[offset] = value;
    tensor[offset] = T(-7);  // no result is
  }
  static auto number(T value) {
    if constexpr (std::is_integral_v<T>) return static_cast<int64_t>(value);
    else return static_cast<double>(static_cast<accumulator_t<T>>(value));
  }
  void check(SparseTensor<T>& tensor, const char* name) const {
    for (const auto& [offset, value] : values)
      if (number(tensor[offset]) != number(value))
        throw std::runtime_error(sentence(name, " has ", number(tensor[offset]), " at offset ",
                                          offset, ", expected ", number(value)));
  }
};

/// At most `most` of the elements, spread evenly.
inline std::vector<int64_t> some(const std::vector<int64_t>& elements, size_t most) {
  if (elements.size() <= most) return elements;
  std::vector<int64_t> chosen(most);
  for (size_t i = 0; i < most; ++i) chosen[i] = elements[i * elements.size() / most];
  return chosen;
}

/// Offsets of what a block makes whose threads (or warps) each make one element at a time.
inline std::vector<int64_t> elements_of_threads(uint64_t block, int64_t blocks, int64_t makers,
                                                int64_t elements) {
  std::vector<int64_t> offsets;
  for (int64_t first = static_cast<int64_t>(block) * makers; first < elements;
       first += blocks * makers)
    for (int64_t i = first; i < std::min(first + makers, elements); ++i) offsets.push_back(i);
  return offsets;
}

template <class T>
class LargeConv {
 public:
  LargeConv(const ConvProblem& problem, const ConvPlan& plan)
      : p_(problem),
        plan_(plan),
        in_(cpu::dense_strides(p_.layout, p_.c, p_.input)),
        filter_(cpu::dense_strides(p_.layout, p_.c_per_group(), p_.filter)),
        out_(cpu::dense_strides(p_.layout, p_.k, p_.output)),
        input_(p_.input_elements()),
        weight_(p_.weight_elements()),
        output_(p_.output_elements()) {}

  ConvTensors tensors() {
    return {input_.data(), weight_.data(), output_.data(), nullptr, nullptr};
  }

  void expect(uint64_t block) {
    for (const int64_t offset : some(elements_of(block), 512)) {
      accumulator_t<T> sum = 0;
      for_each_term(offset, [&](int64_t x, int64_t w, int64_t y) {
        switch (p_.direction) {
          case ConvDirection::fprop: sum += touch(input_, x) * touch(weight_, w); break;
          case ConvDirection::dgrad: sum += touch(output_, y) * touch(weight_, w); break;
          case ConvDirection::wgrad: sum += touch(output_, y) * touch(input_, x); break;
        }
      });
      expected_.add(result(), offset, T(sum));
    }
  }

  void check() { expected_.check(result(), "the result"); }

 private:
  SparseTensor<T>& result() {
    return p_.direction == ConvDirection::fprop   ? output_
           : p_.direction == ConvDirection::dgrad ? input_
                                                  : weight_;
  }

  /// The input coordinate at which output position o and tap t meet.
  Extent3 meet(const Extent3& o, const Extent3& t) const {
    Extent3 i;
    for (int axis = 0; axis < 3; ++axis)
      i[axis] = o[axis] * p_.stride[axis] + t[axis] * p_.dilation[axis] - p_.pad_begin[axis];
    return i;
  }

  /// Calls body(offset in the input, in the weight, in the output) for each product of the sum that
  /// the result has at `offset`; there are no groups.
  template <class Body>
  void for_each_term(int64_t offset, Body&& body) const {
    if (p_.direction == ConvDirection::fprop) {
      const Position y(p_.layout, p_.k, p_.output, offset);
      for_each(p_.filter, [&](const Extent3& tap) {
        const Extent3 i = meet(y.at, tap);
        for (int64_t c = 0; c < p_.c && inside(i, p_.input); ++c)
          body(at(in_, y.n, c, i), at(filter_, y.c, c, tap), offset);
      });
    } else if (p_.direction == ConvDirection::wgrad) {
      const Position w(p_.layout, p_.c, p_.filter, offset);
      for (int64_t n = 0; n < p_.n; ++n)
        for_each(p_.output, [&](const Extent3& o) {
          const Extent3 i = meet(o, w.at);
          if (inside(i, p_.input)) body(at(in_, n, w.c, i), offset, at(out_, n, w.n, o));
        });
    } else {
      const Position x(p_.layout, p_.c, p_.input, offset);
      for_each(p_.filter, [&](const Extent3& tap) {
        Extent3 o;
        for (int axis = 0; axis < 3; ++axis) {
          const int64_t scaled = x.at[axis] + p_.pad_begin[axis] - tap[axis] * p_.dilation[axis];
          o[axis] = scaled % p_.stride[axis] == 0 ? scaled / p_.stride[axis] : -1;
        }
        for (int64_t k = 0; k < p_.k && inside(o, p_.output); ++k)
          body(offset, at(filter_, k, x.c, tap), at(out_, x.n, k, o));
      });
    }
  }

  /// Offsets in the result of what a block makes.
  std::vector<int64_t> elements_of(uint64_t block) {
    if (plan_.tile.m == 0) {
      const bool warps = p_.direction == ConvDirection::wgrad;
      const int64_t elements = p_.direction == ConvDirection::fprop   ? p_.output_elements()
                               : p_.direction == ConvDirection::dgrad ? p_.input_elements()
                                                                      : p_.weight_elements();
      return elements_of_threads(block, plan_.grid[0], plan_.threads / (warps ? 32 : 1), elements);
    }
    const int64_t columns = p_.direction == ConvDirection::fprop   ? p_.k
                            : p_.direction == ConvDirection::dgrad ? p_.c
                                                                   : p_.c * p_.filter.volume();
    const int64_t tiles = (columns + plan_.tile.n - 1) / plan_.tile.n;
    const auto tile = static_cast<int64_t>(block) % plan_.grid[0];
    const auto stride_class = static_cast<int64_t>(block) / plan_.grid[0];
    std::vector<int64_t> offsets;
    for (int64_t m = tile / tiles * plan_.tile.m, i = 0; i < plan_.tile.m; ++i)
      for (int64_t n = tile % tiles * plan_.tile.n, j = 0; j < plan_.tile.n; ++j)
        if (n + j < columns)
          if (const int64_t offset = element_of(m + i, n + j, stride_class); offset >= 0)
            offsets.push_back(offset);
    return offsets;
  }

  /// The offset of a row and column of the GEMM in the result, −1 if the row is past the end.
  int64_t element_of(int64_t row, int64_t column, int64_t stride_class) const {
    if (p_.direction == ConvDirection::wgrad)
      return row < p_.k ? row * p_.c * p_.filter.volume() + column : -1;
    if (p_.direction == ConvDirection::fprop) {
      const Position y(Layout::nchw, 1, p_.output, row);
      return y.n < p_.n ? at(out_, y.n, column, y.at) : -1;
    }
    Extent3 classes, pixels;
    for (int axis = 0; axis < 3; ++axis) {
      classes[axis] = std::min(p_.stride[axis], p_.input[axis]);
      pixels[axis] = (p_.input[axis] + p_.stride[axis] - 1) / p_.stride[axis];
    }
    const Position remainder(Layout::nchw, 1, classes, stride_class);
    Position x(Layout::nchw, 1, pixels, row);
    for (int axis = 0; axis < 3; ++axis)
      x.at[axis] = x.at[axis] * p_.stride[axis] + remainder.at[axis];
    return x.n < p_.n && inside(x.at, p_.input) ? at(in_, x.n, column, x.at) : -1;
  }

  ConvProblem p_;
  ConvPlan plan_;
  cpu::Strides in_, filter_, out_;
  SparseTensor<T> input_, weight_, output_;
  Expectation<T> expected_;
};

class LargeBiasGrad {
 public:
  explicit LargeBiasGrad(const ConvProblem& problem)
      : p_(problem), output_(p_.output_elements()), bias_(p_.k) {}

  ConvTensors tensors() { return {nullptr, nullptr, output_.data(), bias_.data(), nullptr}; }

  void expect(uint64_t block) {
    const cpu::Strides out = cpu::dense_strides(p_.layout, p_.k, p_.output);
    const int64_t channels = p_.layout == Layout::nhwc ? 32 : 1;  // of a block
    const int64_t first = static_cast<int64_t>(block) * channels;
    for (int64_t k = first; k < std::min(first + channels, p_.k); ++k) {
      float sum = 0;
      for (int64_t n = 0; n < p_.n; ++n)
        for_each(p_.output, [&](const Extent3& o) { sum += touch(output_, at(out, n, k, o)); });
      expected_.add(bias_, k, sum);
    }
  }

  void check() { expected_.check(bias_, "the bias gradient"); }

 private:
  ConvProblem p_;
  SparseTensor<float> output_, bias_;
  Expectation<float> expected_;
};

class LargePool {
 public:
  LargePool(const PoolProblem& problem, const PoolPlan& plan)
      : p_(problem),
        plan_(plan),
        in_(cpu::dense_strides(p_.layout, p_.c, p_.input)),
        out_(cpu::dense_strides(p_.layout, p_.c, p_.output)),
        input_(p_.input_elements()),
        output_(p_.output_elements()),
        indices_(p_.output_elements()),
        offsets_(p_.output_elements()) {}

  PoolTensors tensors() {
    return {input_.data(), output_.data(),
            p_.indices == PoolIndices::positions ? indices_.data() : nullptr,
            p_.indices == PoolIndices::offsets ? offsets_.data() : nullptr};
  }

  void expect(uint64_t block) {
    const bool backward = p_.direction == PoolDirection::backward;
    for (const int64_t offset : elements_of_threads(
             block, plan_.grid[0], plan_.threads * plan_.vector, p_.result_elements())) {
      const Position here(p_.layout, p_.c, backward ? p_.input : p_.output, offset);
      if (p_.direction == PoolDirection::forward) expect_forward(here, offset);
      else if (backward) expect_backward(here, offset);
      else expect_gather(here, offset);
    }
  }

  void check() {
    values_.check(p_.direction == PoolDirection::backward ? input_ : output_, "the result");
    written_indices_.check(indices_, "the indices");
    written_offsets_.check(offsets_, "the offsets");
  }

 private:
  int64_t index_in_plane(const Extent3& i) const {
    return (i.d * p_.input.h + i.h) * p_.input.w + i.w;
  }

  uint8_t number_in_window(const Extent3& t) const {
    return static_cast<uint8_t>((t.d * p_.window.h + t.h) * p_.window.w + t.w);
  }

  Extent3 meet(const Extent3& o, const Extent3& t) const {
    Extent3 i;
    for (int axis = 0; axis < 3; ++axis)
      i[axis] = o[axis] * p_.stride[axis] + t[axis] * p_.dilation[axis] - p_.pad[axis];
    return i;
  }

  void expect_forward(const Position& y, int64_t offset) {
    float best = 0;
    int64_t best_index = -1;
    uint8_t best_offset = 255;
    for_each(p_.window, [&](const Extent3& tap) {
      const Extent3 i = meet(y.at, tap);
      if (!inside(i, p_.input)) return;
      const float value = touch(input_, at(in_, y.n, y.c, i));
      if (value > best)
        best = value, best_index = index_in_plane(i), best_offset = number_in_window(tap);
    });
    values_.add(output_, offset, best);
    if (p_.indices == PoolIndices::positions) written_indices_.add(indices_, offset, best_index);
    if (p_.indices == PoolIndices::offsets) written_offsets_.add(offsets_, offset, best_offset);
  }

  /// A window's offset decides which of its taps it names, so all elements agree about it.
  void expect_backward(const Position& x, int64_t offset) {
    float sum = 0;
    for_each(p_.window, [&](const Extent3& tap) {
      Extent3 o;
      for (int axis = 0; axis < 3; ++axis) {
        const int64_t scaled = x.at[axis] + p_.pad[axis] - tap[axis] * p_.dilation[axis];
        o[axis] = scaled % p_.stride[axis] == 0 ? scaled / p_.stride[axis] : -1;
      }
      if (!inside(o, p_.output)) return;
      const int64_t window = at(out_, x.n, x.c, o);
      const float gradient = touch(output_, window);
      const auto choice = static_cast<int64_t>(hash(window) % 4096);
      const Extent3 chosen{choice % p_.window.d, choice / 8 % p_.window.h,
                           choice / 64 % p_.window.w};
      const Extent3 named = meet(o, chosen);
      indices_[window] = index_in_plane(named);
      offsets_[window] = number_in_window(chosen);
      if (named == x.at) sum += gradient;
    });
    values_.add(input_, offset, sum);
  }

  void expect_gather(const Position& y, int64_t offset) {
    if (p_.indices == PoolIndices::offsets) return expect_gather_by_offset(y, offset);
    const auto volume = static_cast<uint64_t>(p_.input.volume());
    const auto index = static_cast<int64_t>(hash(offset) % volume);
    indices_[offset] = index;
    const Position there(Layout::nchw, 1, p_.input, index);
    values_.add(output_, offset, touch(input_, at(in_, y.n, y.c, there.at)));
  }

  /// The last tap that is inside.
  void expect_gather_by_offset(const Position& y, int64_t offset) {
    float value = 0;
    for_each(p_.window, [&](const Extent3& tap) {
      const Extent3 i = meet(y.at, tap);
      if (!inside(i, p_.input)) return;
      offsets_[offset] = number_in_window(tap);
      value = touch(input_, at(in_, y.n, y.c, i));
    });
    values_.add(output_, offset, value);
  }

  PoolProblem p_;
  PoolPlan plan_;
  cpu::Strides in_, out_;
  SparseTensor<float> input_, output_;
  SparseTensor<int64_t> indices_;
  SparseTensor<uint8_t> offsets_;
  Expectation<float> values_;
  Expectation<int64_t> written_indices_;
  Expectation<uint8_t> written_offsets_;
};

}  // namespace cnnkern
