// The activations of a fused convolution, one definition for host, emulator and GPU.
//
//   gelu(x) = x·(1 + erf(x/√2))/2    silu(x) = x/(1 + e^−x)    hardswish(x) = x·min(max(x+3,0),6)/6
#pragma once

#include <cmath>
#include <iterator>
#include <optional>
#include <string_view>

#include "common/dtype.h"

namespace cnnkern {

enum class Activation { none, relu, tanh, sigmoid, gelu, silu, hardswish };

inline constexpr const char* activation_names[] = {"none", "relu", "tanh",     "sigmoid",
                                                   "gelu", "silu", "hardswish"};

inline const char* to_string(Activation activation) {
  return activation_names[static_cast<int>(activation)];
}

inline std::optional<Activation> activation_named(std::string_view name) {
  for (size_t i = 0; i < std::size(activation_names); ++i)
    if (name == activation_names[i]) return static_cast<Activation>(i);
  return std::nullopt;
}

/// NaN stays NaN. Static: CPU kernels of several instruction sets must not share one copy.
template <class A>
static CNNKERN_HOST_DEVICE A activate(Activation activation, A x) {
  constexpr A zero = 0, half = 0.5, one = 1, three = 3, six = 6;
  switch (activation) {
    case Activation::relu: return x < zero ? zero : x;
    case Activation::tanh: return std::tanh(x);
    case Activation::sigmoid: return one / (one + std::exp(-x));
    case Activation::gelu: return half * x * (one + std::erf(x * A(0.70710678118654752440)));
    case Activation::silu: return x / (one + std::exp(-x));
    case Activation::hardswish: {
      const A shifted = x + three;
      return x * (shifted < zero ? zero : shifted > six ? six : shifted) / six;
    }
    default: return x;
  }
}

}  // namespace cnnkern
