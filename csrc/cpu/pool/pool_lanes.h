// The channels that the lanes of a pooling hold.
#pragma once

#include <utility>

#include "cpu/simd_reduce.h"

namespace cnnkern::cpu::CNNKERN_CPU_ISA {

/// Reads and writes the first `count` lanes; all of them if `whole`.
template <class A, bool whole>
struct Lanes {
  int64_t count = lanes<A>;

  template <class T>
  Vec<A> load(const T* from) const {
    if constexpr (whole) return cpu::CNNKERN_CPU_ISA::load<A>(from);
    else return load_partial<A>(from, count);
  }
  template <class T>
  void store(T* to, Vec<A> value) const {
    if constexpr (whole) cpu::CNNKERN_CPU_ISA::store<A>(to, value);
    else store_partial<A>(to, value, count);
  }
  template <class Index>  // int64_t, or uint8_t for the low bytes
  void store_indices(Index* to, Mask<A> index) const {
    typedef Index All
        __attribute__((vector_size(sizeof(Index) * lanes<A>), may_alias, aligned(alignof(Index))));
    if constexpr (whole) *reinterpret_cast<All*>(to) = __builtin_convertvector(index, All);
    else
      for (int64_t i = 0; i < count; ++i) to[i] = static_cast<Index>(index[i]);
  }
};

/// The same of elements of neighbouring planes, which lie apart.
template <class A>
struct PlaneLanes {
  int64_t count, read_step, made_step;

  template <class T>
  Vec<A> load(const T* from) const {
    if (count == lanes<A>) return all(from, std::make_index_sequence<lanes<A>>());
    Vec<A> result = {};
    for (int64_t i = 0; i < count; ++i) result[i] = static_cast<A>(from[i * read_step]);
    return result;
  }
  template <class T>
  void store(T* to, Vec<A> value) const {
    for (int64_t i = 0; i < count; ++i) to[i * made_step] = static_cast<T>(value[i]);
  }
  template <class Index>
  void store_indices(Index* to, Mask<A> index) const {
    for (int64_t i = 0; i < count; ++i) to[i * made_step] = static_cast<Index>(index[i]);
  }

 private:
  template <class T, size_t... lane>
  Vec<A> all(const T* from, std::index_sequence<lane...>) const {
    return Vec<A>{static_cast<A>(from[lane * read_step])...};
  }
};

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
