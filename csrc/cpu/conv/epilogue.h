// The end of every sum: residual, activation and rounding, in the registers that are to be stored.
//
// A fused convolution reads the residual and writes the output once, element by element as the
// kernel finishes them; no kernel walks its result a second time. Activations are computed in
// vectors, but for tanh, sigmoid, gelu and silu of float64 and of elements that are no neighbours:
// these take the C library's functions, one by one.
#pragma once

#include <limits>

#include "cpu/conv/gather_conv.h"
#include "cpu/simd_math.h"

namespace cnnkern::cpu::CNNKERN_CPU_ISA {

template <class A>
inline Vec<A> activate_lanes(Activation activation, Vec<A> x) {
  constexpr Vec<A> zero = {};
  if (activation == Activation::none) return x;
  if (activation == Activation::relu) return x < zero ? zero : x;
  const Vec<A> six = broadcast(A(6));
  if (activation == Activation::relu6) return x < zero ? zero : x > six ? six : x;
  if (activation == Activation::hardswish) {
    const Vec<A> shifted = x + A(3);
    return x * (shifted < zero ? zero : shifted > six ? six : shifted) * (A(1) / A(6));
  }
  if constexpr (std::is_same_v<A, float>) {
    if (activation == Activation::tanh) return tanh(x);
    if (activation == Activation::sigmoid) return sigmoid(x);
    if (activation == Activation::gelu) return gelu(x);
    return x / (1 + exp(-x));
  } else {
    for (int i = 0; i < lanes<A>; ++i) x[i] = activate<A>(activation, x[i]);
    return x;
  }
}

/// Keeps numbers between two, NaN as it is: relu, relu6, or nothing between infinities.
template <class A>
struct Clamp {
  Vec<A> lowest, highest;

  Vec<A> operator()(Vec<A> x) const { return clamp<A>(x, lowest, highest); }
};

/// Where sums of type A go, as numbers of type T; offsets count elements of the result.
template <class A, class T>
struct Epilogue {
  T* dest = nullptr;
  const T* residual = nullptr;  // null, or as dest
  T* preactivation = nullptr;   // likewise
  Activation activation = Activation::none;

  Epilogue() = default;
  explicit Epilogue(T* to) : dest(to) {}
  explicit Epilogue(const GatherConv& conv, int64_t first = 0)
      : dest(static_cast<T*>(conv.dest) + conv.dest_offset + first),
        residual(static_cast<const T*>(conv.residual)),
        preactivation(static_cast<T*>(conv.preactivation)),
        activation(conv.activation) {
    if (residual) residual += first;
    if (preactivation) preactivation += first;
  }

  /// Whether nothing is done to a sum but what clamp() does.
  bool clamps() const {
    const bool in_between = activation == Activation::none || activation == Activation::relu ||
                            activation == Activation::relu6;
    return in_between && !residual && !preactivation;
  }
  Clamp<A> clamp() const {
    constexpr A infinity = std::numeric_limits<A>::infinity();
    return {broadcast(activation == Activation::none ? -infinity : A(0)),
            broadcast(activation == Activation::relu6 ? A(6) : infinity)};
  }

  /// The first `count` lanes go to neighbours.
  void store(int64_t at, Vec<A> sum, int64_t count = lanes<A>) const {
    const bool whole = count == lanes<A>;
    if (residual) sum += whole ? load<A>(residual + at) : load_partial<A>(residual + at, count);
    if (preactivation) put(preactivation + at, sum, count);
    put(dest + at, activate_lanes<A>(activation, sum), count);
  }

  void store_one(int64_t at, A sum) const {
    if (residual) sum += static_cast<A>(residual[at]);
    if (preactivation) preactivation[at] = static_cast<T>(sum);
    dest[at] = static_cast<T>(activate(activation, sum));
  }

  /// `count` sums, to elements `step` apart.
  void store_row(int64_t at, const A* sums, int64_t count, int64_t step = 1) const {
    int64_t i = 0;
    if (step == 1) {
      for (; i + lanes<A> <= count; i += lanes<A>) store(at + i, load<A>(sums + i));
      if (i < count) return store(at + i, load_partial<A>(sums + i, count - i), count - i);
    }
    if (plain())  // else every element would pay for a guess at the sign that relu asks for
      for (; i < count; ++i) dest[at + i * step] = static_cast<T>(sums[i]);
    else
      for (; i < count; ++i) store_one(at + i * step, sums[i]);
  }

 private:
  bool plain() const { return !residual && !preactivation && activation == Activation::none; }

  static void put(T* to, Vec<A> value, int64_t count) {
    if (count == lanes<A>) cpu::CNNKERN_CPU_ISA::store<A>(to, value);
    else store_partial<A>(to, value, count);
  }
};

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
