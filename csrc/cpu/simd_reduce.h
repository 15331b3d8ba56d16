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

/// sum + value where a equals b.
template <class A>
inline Vec<A> add_where_equal(Vec<A> sum, Mask<A> a, Mask<A> b, Vec<A> value) {
#if defined(__AVX512F__)
  if constexpr (vector_bytes == 64 && sizeof(A) == 4) {
    const __mmask16 equal =
        _mm512_cmpeq_epi32_mask(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b));
    return _mm512_mask_add_ps(sum, equal, sum, value);
  }
#endif
  return sum + (a == b ? value : Vec<A>{});
}

/// The greater of both; a NaN if one is.
template <class A>
inline Vec<A> greater(Vec<A> v, Vec<A> value) {
#if defined(__AVX512F__)
  if constexpr (vector_bytes == 64 && sizeof(A) == 4)  // max_ps gives `value` if v is NaN
    return _mm512_mask_mov_ps(_mm512_max_ps(v, value), _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), v);
#endif
  return (v > value) | (v != v) ? v : value;
}

/// Terms in a block of BlockedSum: about as many are added before add().
inline constexpr int64_t sum_block = 16;

/// Sums `width` series of vectors side by side, in blocks, blocks of blocks and so on, so that
/// rounding errors grow with the logarithm of the number of terms.
template <class A, int width>
class BlockedSum {
 public:
  /// Takes a block's sums, and leaves zeros.
  void add(Vec<A> (&sums)[width]) {
    move(sums, levels_[0]);
    int64_t full = ++count_;
    for (int i = 0; i + 1 < most_levels && full % sum_block == 0; ++i, full /= sum_block)
      move(levels_[i], levels_[i + 1]);
  }

  /// Adds all blocks to the sums of what is left.
  void finish(Vec<A> (&sums)[width]) const {
    for (const auto& level : levels_)
      for (int v = 0; v < width; ++v) sums[v] += level[v];
  }

 private:
  static constexpr int most_levels = 4;

  static void move(Vec<A> (&from)[width], Vec<A> (&to)[width]) {
    for (int v = 0; v < width; ++v) {
      to[v] += from[v];
      from[v] = Vec<A>{};
    }
  }

  Vec<A> levels_[most_levels][width] = {};
  int64_t count_ = 0;
};

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
