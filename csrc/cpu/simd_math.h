// The functions of the activations on vectors of float, to a few units in the last place; the tests
// bound them by PyTorch's own errors. Infinities and NaN go where the formulas send them.
#pragma once

#include "cpu/simd.h"

namespace cnnkern::cpu::CNNKERN_CPU_ISA {

using Floats = Vec<float>;

/// Coefficients of the highest power first.
template <int count>
inline Floats polynomial(Floats x, const float (&coefficients)[count]) {
  Floats sum = broadcast(coefficients[0]);
  for (int i = 1; i < count; ++i) sum = fma<float>(sum, x, broadcast(coefficients[i]));
  return sum;
}

inline Floats absolute(Floats x) { return x < Floats{} ? -x : x; }

/// e^x = 2^n · e^r with |r| <= ln(2)/2, where Taylor's series of degree 7 is off by 5e-9.
inline Floats exp(Floats x) {
  constexpr float most = 89, least = -104;  // beyond: infinity, and less than the least float
  constexpr float log2_e = 1.44269504f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  constexpr float rounder = 12582912;  // 1.5 · 2^23: adding it rounds to an integer
  constexpr float taylor[] = {1 / 5040.0f, 1 / 720.0f, 1 / 120.0f, 1 / 24.0f, 1 / 6.0f, 0.5f, 1, 1};
  x = x > broadcast(most) ? broadcast(most) : x < broadcast(least) ? broadcast(least) : x;
  const Floats shifted = fma<float>(x, broadcast(log2_e), broadcast(rounder));
  const Floats n = shifted - broadcast(rounder);
  Floats r = fma<float>(n, broadcast(-ln2_high), x);  // exact: ln2_high has few digits
  r = fma<float>(n, broadcast(-ln2_low), r);
  // 2^n in two factors, so that neither overflows and a denormal result is rounded once.
  const Mask<float> whole =
      reinterpret_cast<Mask<float>>(shifted) - reinterpret_cast<Mask<float>>(broadcast(rounder));
  const Mask<float> half = whole >> 1;
  const auto power = [](Mask<float> k) { return reinterpret_cast<Floats>((k + 127) << 23); };
  return polynomial(r, taylor) * power(half) * power(whole - half);
}

/// Near 0 Lambert's continued fraction, cut after x²/9 (off by 1e-9 at 0.625), else (e − 1)/(e + 1)
/// with e = exp(2|x|).
inline Floats tanh(Floats x) {
  const Floats square = x * x, size = absolute(x), most = broadcast(10.0f);
  const Floats e = exp(2 * (size > most ? most : size));  // beyond, tanh is 1
  const auto near = size < broadcast(0.625f);
  const Floats above = near ? x * polynomial(square, {1, 105, 945}) : x < Floats{} ? 1 - e : e - 1;
  const Floats below = near ? polynomial(square, {15, 420, 945}) : e + 1;
  return above / below;
}

inline Floats sigmoid(Floats x) { return 1 / (1 + exp(-x)); }

/// x·Φ(x), where Φ(−|x|) = erfc(a)/2, a = |x|/√2, and erfc(a) = t · polynomial(t) · e^−a² with
/// t = 2/(2 + a): a Chebyshev fit on 0 <= a <= 10, off by 2e-9.
inline Floats gelu(Floats x) {
  constexpr float fit[] = {0.03239865218f,  -0.1716289015f, 0.332568661f,   -0.2189932848f,
                           -0.08664944204f, 0.07456794739f, 0.03905751788f, 0.1897954688f,
                           0.2444791095f,   0.2823184277f,  0.2820858459f};
  const Floats t = 2 / (2 + absolute(x) * 0.707106781f);
  const Floats tail = 0.5f * t * polynomial(t, fit) * exp(-0.5f * x * x);
  return x * (x < Floats{} ? tail : 1 - tail);
}

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
