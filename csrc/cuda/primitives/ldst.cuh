// Loads and stores of 1, 2, 4, 8 or 16 bytes: every access of a kernel to global or shared memory.
//
//   const auto v = load_global_readonly<Vector<float, 4>>(pointer);   // one LDG.E.128
//
// The pointer must be aligned to the size of the access, as the hardware demands: the launcher
// chooses a narrower Vector where a tensor is not. The emulator's twins check that, and that the
// address lies in the memory it claims to.
#pragma once

#include "common/launch.h"

#if defined(CNNKERN_EMULATOR)
#include "emulator/device.h"
#endif

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

/// N values that travel as one access.
template <class T, int N>
struct alignas(sizeof(T) * N) Vector {
  T data[N];

  __host__ __device__ T& operator[](int i) { return data[i]; }
  __host__ __device__ const T& operator[](int i) const { return data[i]; }
};

template <class V>
inline constexpr bool is_access_size =
    sizeof(V) <= 16 && (sizeof(V) & (sizeof(V) - 1)) == 0 && alignof(V) == sizeof(V);

#if defined(CNNKERN_EMULATOR)

template <class V>
V load_global(const void* pointer, emulator::Site site = emulator::Site::current()) {
  static_assert(is_access_size<V>);
  emulator::check_global(emulator::Effect::load, pointer, sizeof(V), site);
  return *static_cast<const V*>(pointer);
}

template <class V>
V load_global_readonly(const void* pointer, emulator::Site site = emulator::Site::current()) {
  return load_global<V>(pointer, site);
}

template <class V>
V load_global_streaming(const void* pointer, emulator::Site site = emulator::Site::current()) {
  return load_global<V>(pointer, site);
}

template <class V>
V load_global_or_zero(const void* pointer, bool valid,
                      emulator::Site site = emulator::Site::current()) {
  static_assert(is_access_size<V>);
  if (valid) return load_global<V>(pointer, site);
  if (emulator::observed) [[unlikely]]
    emulator::observe_skipped(emulator::Space::global, emulator::Effect::load, pointer, sizeof(V),
                              site);
  return V{};
}

template <class V>
void store_global(void* pointer, V value, emulator::Site site = emulator::Site::current()) {
  static_assert(is_access_size<V>);
  emulator::check_global(emulator::Effect::store, pointer, sizeof(V), site);
  *static_cast<V*>(pointer) = value;
}

template <class V>
void store_global_at_once(void* pointer, V value, emulator::Site site = emulator::Site::current()) {
  store_global(pointer, value, site);
}

template <class V>
void store_global_streaming(void* pointer, V value,
                            emulator::Site site = emulator::Site::current()) {
  store_global(pointer, value, site);
}

template <class V>
V load_shared(const void* pointer, emulator::Site site = emulator::Site::current()) {
  static_assert(is_access_size<V>);
  emulator::check_shared(emulator::Effect::load, pointer, sizeof(V), site);
  return *static_cast<const V*>(pointer);
}

template <class V>
void store_shared(void* pointer, V value, emulator::Site site = emulator::Site::current()) {
  static_assert(is_access_size<V>);
  emulator::check_shared(emulator::Effect::store, pointer, sizeof(V), site);
  *static_cast<V*>(pointer) = value;
}

#else

// The word of the machine that has V's size; accesses go through it so that each is one
// instruction whatever V is made of.
template <size_t bytes>
struct Word;
template <>
struct Word<1> {
  using type = unsigned char;
};
template <>
struct Word<2> {
  using type = unsigned short;
};
template <>
struct Word<4> {
  using type = unsigned;
};
template <>
struct Word<8> {
  using type = uint2;
};
template <>
struct Word<16> {
  using type = uint4;
};
template <class V>
using word_t = typename Word<sizeof(V)>::type;

template <class V>
__device__ __forceinline__ V from_word(word_t<V> word) {
  static_assert(is_access_size<V>);
  V value;
  memcpy(&value, &word, sizeof(V));
  return value;
}

template <class V>
__device__ __forceinline__ word_t<V> to_word(V value) {
  static_assert(is_access_size<V>);
  word_t<V> word;
  memcpy(&word, &value, sizeof(V));
  return word;
}

template <class V>
__device__ __forceinline__ V load_global(const void* pointer) {
  return from_word<V>(*static_cast<const word_t<V>*>(pointer));
}

/// For data that nobody writes while the kernel runs: through the read-only cache.
template <class V>
__device__ __forceinline__ V load_global_readonly(const void* pointer) {
  return from_word<V>(__ldg(static_cast<const word_t<V>*>(pointer)));
}

/// For data that nobody reads again: the first to leave the caches.
template <class V>
__device__ __forceinline__ V load_global_streaming(const void* pointer) {
  return from_word<V>(__ldcs(static_cast<const word_t<V>*>(pointer)));
}

/// As load_global_readonly, or zeros without reading if not `valid`. Words are zeroed: zeroing
/// elements, nvcc chooses for each half of a word.
template <class V>
__device__ __forceinline__ V load_global_or_zero(const void* pointer, bool valid) {
  word_t<V> word{};
  if (valid) word = __ldg(static_cast<const word_t<V>*>(pointer));
  return from_word<V>(word);
}

template <class V>
__device__ __forceinline__ void store_global(void* pointer, V value) {
  *static_cast<word_t<V>*>(pointer) = to_word(value);
}

/// One instruction also where the compiler would store the parts of the word, since it has them in
/// registers that are not neighbours.
template <class V>
__device__ __forceinline__ void store_global_at_once(void* pointer, V value) {
  __stwb(static_cast<word_t<V>*>(pointer), to_word(value));
}

/// For data that is not read soon: the first to leave the caches.
template <class V>
__device__ __forceinline__ void store_global_streaming(void* pointer, V value) {
  __stcs(static_cast<word_t<V>*>(pointer), to_word(value));
}

template <class V>
__device__ __forceinline__ V load_shared(const void* pointer) {
  return from_word<V>(*static_cast<const word_t<V>*>(pointer));
}

template <class V>
__device__ __forceinline__ void store_shared(void* pointer, V value) {
  *static_cast<word_t<V>*>(pointer) = to_word(value);
}

#endif

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
