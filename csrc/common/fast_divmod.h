// Division of 31-bit numbers by a divisor known before the launch: a multiply and a shift.
//
// Source: Granlund & Montgomery, "Division by invariant integers using multiplication" (1994).
// With l = ceil(log2(d)) and m = floor(2^32·(2^l − d)/d) + 1: n/d = (mulhi(m, n) + n) >> l.
#pragma once

#include <cstdint>

#include "common/dtype.h"

namespace cnnkern {

struct FastDivmod {
  uint32_t divisor = 1, multiplier = 1, shift = 0;

  FastDivmod() = default;
  explicit FastDivmod(int64_t d) : divisor(static_cast<uint32_t>(d)) {
    while ((int64_t{1} << shift) < d) ++shift;
    const uint64_t power = uint64_t{1} << shift;
    multiplier = static_cast<uint32_t>(((uint64_t{1} << 32) * (power - divisor)) / divisor + 1);
  }

  /// n / divisor for 0 <= n < 2^31.
  CNNKERN_HOST_DEVICE int32_t divide(int32_t n) const {
#if defined(__CUDA_ARCH__)
    const uint32_t high = __umulhi(multiplier, static_cast<uint32_t>(n));
#else
    const auto high =
        static_cast<uint32_t>((uint64_t{multiplier} * static_cast<uint32_t>(n)) >> 32);
#endif
    return static_cast<int32_t>((high + static_cast<uint32_t>(n)) >> shift);
  }

  /// The quotient; the remainder goes to `remainder`.
  CNNKERN_HOST_DEVICE int32_t divmod(int32_t n, int32_t& remainder) const {
    const int32_t quotient = divide(n);
    remainder = n - quotient * static_cast<int32_t>(divisor);
    return quotient;
  }
};

}  // namespace cnnkern
