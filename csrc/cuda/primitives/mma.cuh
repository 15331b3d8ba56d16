// mma: a full warp multiplies two small matrices, D(m × n) = A(m × k) · B(k × n) + C. PTX ISA,
// "mma.sync".
//
//   using Mma = Mma16x8x16F16;
//   Mma::C sum{};
//   sum = mma<Mma>(ldmatrix<4>(…), ldmatrix<2>(…), sum);
//
// Each lane holds some elements of every operand, in 32-bit registers of one tf32 or two 16-bit
// elements, or in 64-bit registers of one double. With g = lane / 4, t = lane % 4 and e elements a
// register, element j of register r is
//   A  row g + 8 · (r % 2), column e·t + j + 4·e · (r / 2)
//   B  row e·t + j + 4·e · r, column g
// and element i of C and D
//   C  row g + 8 · (i / 2), column 2·t + i % 2.
#pragma once

#include <bit>
#include <type_traits>

#include "common/dtype.h"
#include "cuda/primitives/ldst.cuh"

#if defined(CNNKERN_EMULATOR)
#include "emulator/matrix_twins.h"
#endif

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

/// A float32 of which an mma reads the upper 19 bits; see to_tf32.
struct tfloat32 {
  unsigned bits;
  explicit operator float() const { return std::bit_cast<float>(bits & 0xffffe000u); }
};

/// What one lane holds in an mma of Elements that adds up in Sum.
template <class Element_, class Sum, int m_, int n_, int k_>
struct MmaShape {
  using Element = Element_;
  static constexpr int m = m_, n = n_, k = k_;
  using Register = std::conditional_t<sizeof(Element) == 8, double, unsigned>;
  using A = Vector<Register, m * k * sizeof(Element) / sizeof(Register) / 32>;
  using B = Vector<Register, k * n * sizeof(Element) / sizeof(Register) / 32>;
  using C = Vector<Sum, m * n / 32>;
};

struct Mma16x8x8F16 : MmaShape<float16, float, 16, 8, 8> {
  static constexpr int arch = 750;
  static constexpr auto name = "mma.m16n8k8.f16";
};
struct Mma16x8x16F16 : MmaShape<float16, float, 16, 8, 16> {
  static constexpr int arch = 800;
  static constexpr auto name = "mma.m16n8k16.f16";
};
struct Mma16x8x16Bf16 : MmaShape<bfloat16, float, 16, 8, 16> {
  static constexpr int arch = 800;
  static constexpr auto name = "mma.m16n8k16.bf16";
};
struct Mma16x8x8Tf32 : MmaShape<tfloat32, float, 16, 8, 8> {
  static constexpr int arch = 800;
  static constexpr auto name = "mma.m16n8k8.tf32";
};
struct Mma8x8x4F64 : MmaShape<double, double, 8, 8, 4> {
  static constexpr int arch = 800;
  static constexpr auto name = "mma.m8n8k4.f64";
};

/// Whether this pass compiles for an architecture that has the instruction (or for the host).
template <class Mma>
inline constexpr bool has_mma = CNNKERN_ARCH == 0 || CNNKERN_ARCH >= Mma::arch;

#if defined(CNNKERN_EMULATOR)

template <class Mma>
typename Mma::C mma(const typename Mma::A& a, const typename Mma::B& b, const typename Mma::C& c,
                    emulator::Site site = emulator::Site::current()) {
  static_assert(has_mma<Mma>, "this architecture does not have the instruction");
  return emulator::mma<Mma>(a, b, c, site);
}

#else

template <class Mma>
__device__ __forceinline__ typename Mma::C mma(const typename Mma::A& a, const typename Mma::B& b,
                                               const typename Mma::C& c) {
  static_assert(has_mma<Mma>, "this architecture does not have the instruction");
  typename Mma::C d;
  if constexpr (std::is_same_v<Mma, Mma16x8x8F16>)
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%7, %8, %9, %10};"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(b[0]), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
  else if constexpr (std::is_same_v<Mma, Mma16x8x16F16>)
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]),
          "f"(c[2]), "f"(c[3]));
  else if constexpr (std::is_same_v<Mma, Mma16x8x16Bf16>)
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]),
          "f"(c[2]), "f"(c[3]));
  else if constexpr (std::is_same_v<Mma, Mma16x8x8Tf32>)
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]),
          "f"(c[2]), "f"(c[3]));
  else
    asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%4, %5};"
                 : "=d"(d[0]), "=d"(d[1])
                 : "d"(a[0]), "d"(b[0]), "d"(c[0]), "d"(c[1]));
  return d;
}

#endif

#if CNNKERN_ARCH == 0 || CNNKERN_ARCH >= 800

/// Rounds to the nearest tf32, ties away from zero: what an mma that drops the low bits should be
/// given.
__device__ __forceinline__ unsigned to_tf32(float value) {
#if defined(CNNKERN_EMULATOR)
  return emulator::to_tf32(value);
#else
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return bits;
#endif
}

#endif

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
