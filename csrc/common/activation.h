// The activations of a fused convolution, one definition for host, emulator and GPU.
//
//   gelu(x) = x·(1 + erf(x/√2))/2    silu(x) = x/(1 + e^−x)    hardswish(x) = x·min(max(x+3,0),6)/6
#pragma once

#include <cmath>
#include <iterator>
#include <limits>
#include <optional>
#include <string_view>
#include <type_traits>

#include "common/dtype.h"

namespace cnnkern {

enum class Activation { none, relu, relu6, hardswish, sigmoid, silu, tanh, gelu };

inline constexpr const char* activation_names[] = {"none",    "relu", "relu6", "hardswish",
                                                   "sigmoid", "silu", "tanh",  "gelu"};

inline const char* to_string(Activation activation) {
  return activation_names[static_cast<int>(activation)];
}

inline std::optional<Activation> activation_named(std::string_view name) {
  for (size_t i = 0; i < std::size(activation_names); ++i)
    if (name == activation_names[i]) return static_cast<Activation>(i);
  return std::nullopt;
}

// Static: CPU kernels of several instruction sets must not share one copy.

/// 1/x for x in [1, 2]; on a GPU by Newton's steps, free of the subroutine that a division calls.
template <class A>
static CNNKERN_HOST_DEVICE A reciprocal(A x) {
#if defined(__CUDA_ARCH__)
  A result = __fdividef(1.0f, static_cast<float>(x));
  for (int step = 0; step < (sizeof(A) == 8 ? 2 : 1); ++step)
    result = std::fma(result, std::fma(-x, result, A(1)), result);
  return result;
#else
  return A(1) / x;
#endif
}

/// Calls body once, with the activation as a function of one number; NaN stays NaN. Selections, and
/// branches two ways: a jump table would hide the paths of a kernel from check_sass.py.
template <class A, class Body>
static CNNKERN_HOST_DEVICE void with_activation(Activation activation, Body&& body) {
  constexpr A zero = 0, half = 0.5, one = 1, three = 3, six = 6;
  if (activation <= Activation::hardswish) {
    constexpr A infinity = std::numeric_limits<A>::infinity();
    const A low = activation == Activation::none ? -infinity : zero;
    const A high = activation == Activation::relu6 ? six : infinity;
    body([=](A x) {
      const A shifted = x + three;
      const A gate = (shifted < zero ? zero : shifted > six ? six : shifted) * (one / six);
      const A clamped = x < low ? low : x > high ? high : x;
      return activation == Activation::hardswish ? x * gate : clamped;
    });
  } else if (activation <= Activation::silu) {
    body([=](A x) {
      const A e = std::exp(-std::abs(x)), below = reciprocal(one + e);
      const A gate = x < zero ? e * below : below;
      return activation == Activation::silu ? x * gate : gate;
    });
  } else if (activation == Activation::tanh) {
    body([](A x) { return std::tanh(x); });
  } else {
    body([=](A x) { return half * x * (one + std::erf(x * A(0.70710678118654752440))); });
  }
}

/// Integers have none.
template <class A, class Body>
  requires std::is_integral_v<A>
static CNNKERN_HOST_DEVICE void with_activation(Activation, Body&& body) {
  body([](A x) { return x; });
}

template <class A>
static CNNKERN_HOST_DEVICE A activate(Activation activation, A x) {
  with_activation<A>(activation, [&](const auto& function) { x = function(x); });
  return x;
}

}  // namespace cnnkern
