// The element types of every kernel, one definition for host, emulator and GPU.
//
// float16 and bfloat16 are 16 bits of storage; arithmetic happens in float (see Accumulator).
// Conversions round to nearest even and keep NaN, as PyTorch's do. Integers are for the plain CPU
// kernels alone: the others compute the floating-point types.
#pragma once

#include <bit>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define CNNKERN_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define CNNKERN_HOST_DEVICE inline
#endif

namespace cnnkern {

enum class DType { float32, float64, float16, bfloat16, uint8, int8, int16, int32, int64 };

inline int64_t size_of(DType dtype) {
  switch (dtype) {
    case DType::float32: return 4;
    case DType::float64: return 8;
    case DType::uint8: return 1;
    case DType::int8: return 1;
    case DType::int32: return 4;
    case DType::int64: return 8;
    default: return 2;
  }
}

inline const char* to_string(DType dtype) {
  switch (dtype) {
    case DType::float32: return "float32";
    case DType::float64: return "float64";
    case DType::float16: return "float16";
    case DType::bfloat16: return "bfloat16";
    case DType::uint8: return "uint8";
    case DType::int8: return "int8";
    case DType::int16: return "int16";
    case DType::int32: return "int32";
    default: return "int64";
  }
}

inline bool is_integer(DType dtype) { return dtype >= DType::uint8; }

/// Throws for what only the plain CPU kernels compute.
inline void require_floating_point(DType dtype) {
  if (is_integer(dtype))
    throw std::runtime_error(std::string("cnnkern: ") + to_string(dtype) +
                             " is computed on the CPU only; use CPU tensors with backend('auto'), "
                             "or a floating-point dtype");
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

/// The type a kernel sums in: float for everything but float64; for integers modulo 2^64, which
/// stored in a narrower type wraps around as sums in that type do.
template <class T>
struct Accumulator {
  using type = std::conditional_t<std::is_integral_v<T>, uint64_t, float>;
};
template <>
struct Accumulator<double> {
  using type = double;
};
template <class T>
using accumulator_t = typename Accumulator<T>::type;

/// Calls body with a value of the C++ type that dtype names: `dispatch(dtype, [&](auto zero) {…})`.
/// Floating-point types only; throws for integers.
template <class Body>
decltype(auto) dispatch(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::float32: return body(float{});
    case DType::float64: return body(double{});
    case DType::float16: return body(float16{});
    case DType::bfloat16: return body(bfloat16{});
    default: require_floating_point(dtype); throw std::logic_error("unreachable");
  }
}

/// The same for integers too.
template <class Body>
decltype(auto) dispatch_all(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::uint8: return body(uint8_t{});
    case DType::int8: return body(int8_t{});
    case DType::int16: return body(int16_t{});
    case DType::int32: return body(int32_t{});
    case DType::int64: return body(int64_t{});
    default: return dispatch(dtype, body);
  }
}

}  // namespace cnnkern
