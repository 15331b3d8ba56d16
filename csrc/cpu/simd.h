// Vectors of CNNKERN_VECTOR_BYTES bytes, in the namespace of one instruction set.
//
// A file that includes this defines CNNKERN_CPU_ISA (the namespace) and CNNKERN_VECTOR_BYTES, and
// is compiled for that instruction set. The type is the compiler's own vector extension, so any
// width works on any CPU; intrinsics appear only where the extension has no word for it. Nothing
// here may be shared between instruction sets: the linker keeps one copy of an inline function.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <new>
#include <type_traits>

#include "common/dtype.h"

#if defined(__AVX2__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // g++ 12 warns of its own _mm512_undefined
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

namespace cnnkern::cpu::CNNKERN_CPU_ISA {

inline constexpr int vector_bytes = CNNKERN_VECTOR_BYTES;

template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float type __attribute__((vector_size(vector_bytes)));
  typedef int32_t mask __attribute__((vector_size(vector_bytes)));
};
template <>
struct VectorOf<double> {
  typedef double type __attribute__((vector_size(vector_bytes)));
  typedef int64_t mask __attribute__((vector_size(vector_bytes)));
};

template <class A>
using Vec = typename VectorOf<A>::type;
/// −1 in the lanes that take part, 0 in the others.
template <class A>
using Mask = typename VectorOf<A>::mask;
template <class A>
inline constexpr int lanes = vector_bytes / static_cast<int>(sizeof(A));

template <class A>
inline Vec<A> broadcast(A value) {
  return value - Vec<A>{};  // not value + 0, which would turn −0 into 0
}

/// a · b + c, rounded once where the instruction set can.
template <class A>
inline Vec<A> fma(Vec<A> a, Vec<A> b, Vec<A> c) {
#if defined(__AVX512F__)
  if constexpr (vector_bytes == 64 && sizeof(A) == 4) return _mm512_fmadd_ps(a, b, c);
  if constexpr (vector_bytes == 64 && sizeof(A) == 8) return _mm512_fmadd_pd(a, b, c);
#elif defined(__FMA__)
  if constexpr (vector_bytes == 32 && sizeof(A) == 4) return _mm256_fmadd_ps(a, b, c);
  if constexpr (vector_bytes == 32 && sizeof(A) == 8) return _mm256_fmadd_pd(a, b, c);
#endif
  return a * b + c;
}

/// x, but at least `lowest` and at most `highest`; a NaN stays one.
template <class A>
inline Vec<A> clamp(Vec<A> x, Vec<A> lowest, Vec<A> highest) {
#if defined(__AVX512F__)  // these give x if it is NaN
  if constexpr (vector_bytes == 64 && sizeof(A) == 4)
    return _mm512_min_ps(highest, _mm512_max_ps(lowest, x));
  if constexpr (vector_bytes == 64 && sizeof(A) == 8)
    return _mm512_min_pd(highest, _mm512_max_pd(lowest, x));
#elif defined(__AVX2__)
  if constexpr (vector_bytes == 32 && sizeof(A) == 4)
    return _mm256_min_ps(highest, _mm256_max_ps(lowest, x));
  if constexpr (vector_bytes == 32 && sizeof(A) == 8)
    return _mm256_min_pd(highest, _mm256_max_pd(lowest, x));
#endif
  return x < lowest ? lowest : x > highest ? highest : x;
}

/// The same value, in a register: else the compiler may read it from memory at each use.
template <class V>
inline V in_register(V value) {
#if defined(__x86_64__)
  __asm__("" : "+v"(value));
#endif
  return value;
}

/// A whole vector from unaligned memory of the storage type T.
template <class A, class T>
inline Vec<A> load(const T* from) {
  Vec<A> result = {};
  if constexpr (sizeof(T) == sizeof(A)) {
    __builtin_memcpy(&result, from, sizeof result);
    return result;
  }
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float16> && vector_bytes == 64)
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#elif defined(__F16C__)
  if constexpr (std::is_same_v<T, float16> && vector_bytes == 32)
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#endif
  for (int i = 0; i < lanes<A>; ++i) result[i] = static_cast<A>(from[i]);
  return result;
}

/// The lanes of the mask, zero in the others, which are not read.
template <class A>
inline Vec<A> load_masked(const A* from, Mask<A> mask) {
#if defined(__AVX512F__)
  if constexpr (vector_bytes == 64 && sizeof(A) == 4)
    return _mm512_maskz_loadu_ps(_mm512_movepi32_mask(reinterpret_cast<__m512i>(mask)), from);
  if constexpr (vector_bytes == 64 && sizeof(A) == 8)
    return _mm512_maskz_loadu_pd(_mm512_movepi64_mask(reinterpret_cast<__m512i>(mask)), from);
#elif defined(__AVX2__)
  if constexpr (vector_bytes == 32 && sizeof(A) == 4)
    return _mm256_maskload_ps(from, reinterpret_cast<__m256i>(mask));
  if constexpr (vector_bytes == 32 && sizeof(A) == 8)
    return _mm256_maskload_pd(from, reinterpret_cast<__m256i>(mask));
#endif
  Vec<A> result = {};
  for (int i = 0; i < lanes<A>; ++i)
    if (mask[i]) result[i] = from[i];
  return result;
}

/// −1 in the first `count` lanes.
template <class A>
inline Mask<A> first_lanes(int64_t count) {
  using Index = std::conditional_t<sizeof(A) == 4, int32_t, int64_t>;
  Mask<A> lane;
  for (int i = 0; i < lanes<A>; ++i) lane[i] = static_cast<Index>(i);
  return lane < static_cast<Index>(count) - Mask<A>{};
}

/// The first `count` lanes, zero in the others, which are not read.
template <class A, class T>
inline Vec<A> load_partial(const T* from, int64_t count) {
  if constexpr (std::is_same_v<T, A> && vector_bytes > 16)
    return load_masked<A>(from, first_lanes<A>(count));
  Vec<A> result = {};
  for (int i = 0; i < count; ++i) result[i] = static_cast<A>(from[i]);
  return result;
}

template <class A, class T>
inline void store(T* to, Vec<A> value) {
  if constexpr (sizeof(T) == sizeof(A)) {
    __builtin_memcpy(to, &value, sizeof value);
    return;
  }
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float16> && vector_bytes == 64) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtps_ph(value, 8 /* to nearest */));
    return;
  }
#elif defined(__F16C__)
  if constexpr (std::is_same_v<T, float16> && vector_bytes == 32) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(value, 0 /* to nearest */));
    return;
  }
#endif
  for (int i = 0; i < lanes<A>; ++i) to[i] = static_cast<T>(value[i]);
}

/// The first `count` lanes; the elements after them are left alone.
template <class A, class T>
inline void store_partial(T* to, Vec<A> value, int64_t count) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float> && vector_bytes == 64) {
    const auto mask = reinterpret_cast<__m512i>(first_lanes<A>(count));
    return _mm512_mask_storeu_ps(to, _mm512_movepi32_mask(mask), value);
  }
  if constexpr (std::is_same_v<T, double> && vector_bytes == 64) {
    const auto mask = reinterpret_cast<__m512i>(first_lanes<A>(count));
    return _mm512_mask_storeu_pd(to, _mm512_movepi64_mask(mask), value);
  }
#elif defined(__AVX2__)  // in halves: a store under a mask takes 40 instructions on some CPUs
  if constexpr (std::is_same_v<T, float> && vector_bytes == 32) {
    __m128 rest = _mm256_castps256_ps128(value);
    if (count & 8) return store<A>(to, value);
    if (count & 4) {
      _mm_storeu_ps(to, rest);
      rest = _mm256_extractf128_ps(value, 1);
      to += 4;
    }
    if (count & 2) {
      _mm_storel_pi(reinterpret_cast<__m64*>(to), rest);
      rest = _mm_movehl_ps(rest, rest);
      to += 2;
    }
    if (count & 1) _mm_store_ss(to, rest);
    return;
  }
  if constexpr (std::is_same_v<T, double> && vector_bytes == 32) {
    __m128d rest = _mm256_castpd256_pd128(value);
    if (count & 4) return store<A>(to, value);
    if (count & 2) {
      _mm_storeu_pd(to, rest);
      rest = _mm256_extractf128_pd(value, 1);
      to += 2;
    }
    if (count & 1) _mm_store_sd(to, rest);
    return;
  }
#endif
  for (int i = 0; i < count; ++i) to[i] = static_cast<T>(value[i]);
}

/// Cache-line aligned scratch memory.
template <class A>
class Buffer {
 public:
  explicit Buffer(int64_t count)
      : data_(static_cast<A*>(std::aligned_alloc(64, (count * sizeof(A) + 127) / 64 * 64))) {
    if (!data_) throw std::bad_alloc();
  }
  ~Buffer() { std::free(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  A* get() const { return data_; }
  A& operator[](int64_t i) const { return data_[i]; }

 private:
  A* data_;
};

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
