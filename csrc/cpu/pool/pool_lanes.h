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
  void store_indices(int64_t* to, Mask<A> index) const {
    typedef int64_t Wide __attribute__((vector_size(8 * lanes<A>), may_alias, aligned(8)));
    if constexpr (whole) *reinterpret_cast<Wide*>(to) = __builtin_convertvector(index, Wide);
    else
      for (int64_t i = 0; i < count; ++i) to[i] = index[i];
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
  void store_indices(int64_t* to, Mask<A> index) const {
    for (int64_t i = 0; i < count; ++i) to[i * made_step] = index[i];
  }

 private:
  template <class T, size_t... lane>
  Vec<A> all(const T* from, std::index_sequence<lane...>) const {
    return Vec<A>{static_cast<A>(from[lane * read_step])...};
  }
};

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
