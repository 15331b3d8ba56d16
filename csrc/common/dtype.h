// The element types of every kernel, one definition for host, emulator and GPU.
//
// float16 and bfloat16 are 16 bits of storage; arithmetic happens in float (see Accumulator).
// Conversions round to nearest even and keep NaN, as PyTorch's do.
#pragma once

#include <bit>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define CNNKERN_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define CNNKERN_HOST_DEVICE inline
#endif

namespace cnnkern {

enum class DType { float32, float64, float16, bfloat16 };

inline int64_t size_of(DType dtype) {
  switch (dtype) {
    case DType::float32: return 4;
    case DType::float64: return 8;
    default: return 2;
  }
}

inline const char* to_string(DType dtype) {
  switch (dtype) {
    case DType::float32: return "float32";
    case DType::float64: return "float64";
    case DType::float16: return "float16";
    default: return "bfloat16";
  }
}

struct alignas(2) float16 {
  uint16_t bits;

  float16() = default;
  CNNKERN_HOST_DEVICE explicit float16(float value) : bits(from_float(value)) {}
  CNNKERN_HOST_DEVICE explicit operator float() const { return to_float(bits); }

 private:
  CNNKERN_HOST_DEVICE static uint16_t from_float(float value) {
#if defined(__CUDA_ARCH__)
    return __half_as_ushort(__float2half_rn(value));
#else
    const uint32_t x = std::bit_cast<uint32_t>(value);
    const uint32_t sign = (x >> 16) & 0x8000u, magnitude = x & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);   // NaN
    if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // overflows
    if (magnitude < 0x38800000u) {  // subnormal: adding 0.5 leaves the rounded bits in the mantissa
      const float scaled = std::bit_cast<float>(magnitude) + 0.5f;
      return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(scaled) - 0x3f000000u));
    }
    const uint32_t odd = (magnitude >> 13) & 1u;
    return static_cast<uint16_t>(sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13));
#endif
  }
  CNNKERN_HOST_DEVICE static float to_float(uint16_t bits) {
#if defined(__CUDA_ARCH__)
    return __half2float(__ushort_as_half(bits));
#else
    const uint32_t sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 0x1fu;
    const uint32_t mantissa = bits & 0x3ffu;
    if (exponent == 0) {  // zero or subnormal: mantissa · 2^-24
      const float magnitude = static_cast<float>(mantissa) * 5.9604644775390625e-8f;
      return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
    }
    const uint32_t rebiased = exponent == 31 ? 0xffu : exponent + 112u;
    return std::bit_cast<float>(sign | (rebiased << 23) | (mantissa << 13));
#endif
  }
};

struct alignas(2) bfloat16 {
  uint16_t bits;

  bfloat16() = default;
  CNNKERN_HOST_DEVICE explicit bfloat16(float value) : bits(from_float(value)) {}
  CNNKERN_HOST_DEVICE explicit operator float() const {
#if defined(__CUDA_ARCH__)
    return __uint_as_float(static_cast<uint32_t>(bits) << 16);
#else
    return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
#endif
  }

 private:
  CNNKERN_HOST_DEVICE static uint16_t from_float(float value) {
#if defined(__CUDA_ARCH__)
    return __bfloat16_as_ushort(__float2bfloat16_rn(value));
#else
    const uint32_t x = std::bit_cast<uint32_t>(value);
    if ((x & 0x7fffffffu) > 0x7f800000u) return 0x7fc0u;
    return static_cast<uint16_t>((x + 0x7fffu + ((x >> 16) & 1u)) >> 16);
#endif
  }
};

/// The type a kernel sums in: float for everything but float64.
template <class T>
struct Accumulator {
  using type = float;
};
template <>
struct Accumulator<double> {
  using type = double;
};
template <class T>
using accumulator_t = typename Accumulator<T>::type;

/// Calls body with a value of the C++ type that dtype names: `dispatch(dtype, [&](auto zero) {…})`.
template <class Body>
decltype(auto) dispatch(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::float32: return body(float{});
    case DType::float64: return body(double{});
    case DType::float16: return body(float16{});
    default: return body(bfloat16{});
  }
}

}  // namespace cnnkern
