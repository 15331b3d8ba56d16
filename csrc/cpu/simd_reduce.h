// Vectors searched and summed: what pooling needs beyond simd.h.
#pragma once

#include <utility>

#include "cpu/simd.h"

namespace cnnkern::cpu::CNNKERN_CPU_ISA {

/// Where v is greater than `value`, or NaN, it and its index take their places.
template <class A>
inline void take_greater(Vec<A> v, Mask<A> at, Vec<A>& value, Mask<A>& index) {
#if defined(__AVX512F__)
  if constexpr (vector_bytes == 64 &&
                sizeof(A) == 4) {  // vectors of lanes that are 0 or −1 cost more
    const __mmask16 better =
        _mm512_cmp_ps_mask(v, value, _CMP_GT_OQ) | _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    value = _mm512_mask_mov_ps(value, better, v);
    index = reinterpret_cast<Mask<A>>(_mm512_mask_mov_epi32(reinterpret_cast<__m512i>(index),
                                                            better, reinterpret_cast<__m512i>(at)));
    return;
  }
#endif
  const Mask<A> better = (v > value) | (v != v);
  value = better ? v : value;
  index = better ? at : index;
}

// x + x with the halves of each 2 · half lanes exchanged.
template <int half, class V, size_t... lane>
inline V add_halves(V x, std::index_sequence<lane...>) {
  return x + __builtin_shufflevector(x, x, (lane ^ half)...);
}

/// Halves are added until one lane is left.
template <class A, int half = lanes<A> / 2>
inline A sum_of_lanes(Vec<A> x) {
  x = add_halves<half>(x, std::make_index_sequence<lanes<A>>());
  if constexpr (half > 1) return sum_of_lanes<A, half / 2>(x);
  else return x[0];
}

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
