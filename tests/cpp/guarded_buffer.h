// A tensor inside a larger buffer of NaN: whoever reads around it spoils a result, whoever writes
// around it is found out. AddressSanitizer, where it is built in, watches the guards as well.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "common/dtype.h"
#include "emulator/sanitizer.h"

namespace cnnkern {

/// Small integers, so that every sum is exact in float whatever its order.
class RandomIntegers {
 public:
  explicit RandomIntegers(uint64_t seed) : state_(seed * 2 + 1) {}
  /// In [-bound, bound].
  int operator()(int bound) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<int>(state_ >> 33) % (2 * bound + 1) - bound;
  }

 private:
  uint64_t state_;
};

class GuardedBuffer {
 public:
  /// `offset` elements past a 64-byte boundary; everything is NaN (as int64: −1).
  GuardedBuffer(int64_t elements, int64_t element_size, int64_t offset)
      : bytes_(static_cast<size_t>(elements * element_size)),
        element_size_(element_size),
        storage_(64 + guard + offset * element_size + bytes_ + guard, std::byte{0xff}) {
    const auto address = reinterpret_cast<uintptr_t>(storage_.data());
    begin_ = storage_.data() + (-address & 63) + guard + offset * element_size;
    watch();
  }
  ~GuardedBuffer() { emulator::allow_access(storage_.data(), storage_.size()); }
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;

  void* data() { return begin_; }
  size_t elements() const { return bytes_ / static_cast<size_t>(element_size_); }
  template <class T>
  T* as() {
    return reinterpret_cast<T*>(begin_);
  }

  void fill_nan() { std::memset(begin_, 0xff, bytes_); }
  void fill_integers(DType dtype, RandomIntegers& random, int bound) {
    dispatch(dtype, [&](auto zero) {
      using T = decltype(zero);
      for (size_t i = 0; i < elements(); ++i) as<T>()[i] = T(static_cast<float>(random(bound)));
    });
  }
  void copy_from(GuardedBuffer& other) { std::memcpy(begin_, other.begin_, bytes_); }

  /// The first element whose bits differ from the other's, or -1.
  int64_t first_difference(GuardedBuffer& other) const {
    if (bytes_ == 0 || std::memcmp(begin_, other.begin_, bytes_) == 0) return -1;
    size_t at = 0;
    while (begin_[at] == other.begin_[at]) ++at;
    return static_cast<int64_t>(at) / element_size_;
  }

  bool guards_intact() {
    emulator::allow_access(storage_.data(), storage_.size());
    bool intact = true;
    for (const std::byte* at = storage_.data(); at < storage_.data() + storage_.size(); ++at)
      if (at < begin_ || at >= begin_ + bytes_) intact = intact && *at == std::byte{0xff};
    watch();
    return intact;
  }

 private:
  static constexpr int64_t guard = 1024;

  void watch() {
    std::byte* const end = begin_ + bytes_;
    emulator::forbid_access(storage_.data(), static_cast<size_t>(begin_ - storage_.data()));
    emulator::forbid_access(end, static_cast<size_t>(storage_.data() + storage_.size() - end));
  }

  size_t bytes_;
  int64_t element_size_;
  std::vector<std::byte> storage_;
  std::byte* begin_;
};

}  // namespace cnnkern
