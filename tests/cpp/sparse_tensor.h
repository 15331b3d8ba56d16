// A tensor of any size that costs only the pages that are touched; the others read as zeros.
//
// 2^32 elements more are mapped on both sides, so that an offset cut to 32 bits reads a zero, or is
// written where nobody looks, instead of ending the process.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace cnnkern {

template <class T>
class SparseTensor {
 public:
  explicit SparseTensor(int64_t elements)
      : bytes_(static_cast<size_t>(elements + 2 * margin) * sizeof(T)),
        mapping_(mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
    if (mapping_ == MAP_FAILED)
      throw std::runtime_error("cannot map " + std::to_string(bytes_ >> 30) +
                               " GiB of address space; see ulimit -v, vm.overcommit_memory");
    madvise(mapping_, bytes_, MADV_NOHUGEPAGE);  // a touched byte costs 4 KiB, not 2 MiB
  }
  ~SparseTensor() { munmap(mapping_, bytes_); }
  SparseTensor(const SparseTensor&) = delete;
  SparseTensor& operator=(const SparseTensor&) = delete;

  T* data() { return static_cast<T*>(mapping_) + margin; }
  T& operator[](int64_t offset) { return data()[offset]; }

 private:
  static constexpr int64_t margin = int64_t{1} << 32;

  size_t bytes_;
  void* mapping_;
};

}  // namespace cnnkern
