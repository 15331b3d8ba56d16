// Twins of csrc/cuda/primitives/ldmatrix.cuh and mma.cuh: a rendezvous of the whole warp, whose
// last lane moves or multiplies the matrices for all. The layouts follow the PTX ISA.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "emulator/device.h"

namespace cnnkern::emulator {

inline constexpr unsigned whole_warp = ~0u;

// --- ldmatrix --------------------------------------------------------------------------------

struct MatrixRow {
  const char* source;
  uint16_t (*registers)[2];
};

/// N matrices; on sm_75 (arch 750) even addresses that are not used have to be valid.
template <class Registers, int N, bool transposed>
Registers ldmatrix(const void* row, int arch, Site site) {
  static_assert(N == 1 || N == 2 || N == 4);
  if (static_cast<int>(threadIdx.x) % 32 < 8 * N) check_shared(Effect::load, row, 16, site);
  else if (arch < 800) require_shared(row, 16, site);

  Registers result;
  MatrixRow own{static_cast<const char*>(row), reinterpret_cast<uint16_t (*)[2]>(&result)};
  const Complete complete = [](void* const* operands, unsigned) {
    const auto operand = [&](int lane) { return *static_cast<MatrixRow*>(operands[lane]); };
    for (int lane = 0; lane < 32; ++lane)
      for (int matrix = 0; matrix < N; ++matrix)
        for (int j = 0; j < 2; ++j) {
          const int across = lane / 4, along = lane % 4 * 2 + j;
          const int i = transposed ? along : across, column = transposed ? across : along;
          std::memcpy(&operand(lane).registers[matrix][j],
                      operand(8 * matrix + i).source + 2 * column, 2);
        }
  };
  static constexpr const char* opcodes[2][3] = {
      {"ldmatrix.x1", "ldmatrix.x2", "ldmatrix.x4"},
      {"ldmatrix.x1.trans", "ldmatrix.x2.trans", "ldmatrix.x4.trans"}};
  rendezvous(whole_warp, opcodes[transposed][N / 2], &own, complete, site);
  return result;
}

// --- mma -------------------------------------------------------------------------------------

/// How an mma adds up in float32. NVIDIA does not say; a kernel has to be right with both. See
/// README.md.
///   to_nearest   in double, rounded once
///   toward_zero  four products at a time, and bits are dropped at every step
enum class MmaRounding { to_nearest, toward_zero };

/// Without a call it is what CNNKERN_EMULATOR_MMA names, or to_nearest.
void set_mma_rounding(MmaRounding rounding);

/// c plus the sum of a[i] · b[i], as one element of an mma is made.
float multiply_add(const float* a, const float* b, int k, float c);
double multiply_add(const double* a, const double* b, int k, double c);

// Where the i-th element of a lane lies; an operand's register holds `packed` of them.
struct Place {
  int row, column;
};
constexpr Place place_in_a(int lane, int i, int packed) {
  const int r = i / packed;
  return {lane / 4 + 8 * (r % 2), packed * (lane % 4) + i % packed + 4 * packed * (r / 2)};
}
constexpr Place place_in_b(int lane, int i, int packed) {
  const int r = i / packed;
  return {packed * (lane % 4) + i % packed + 4 * packed * r, lane / 4};
}
constexpr Place place_in_c(int lane, int i) {
  return {lane / 4 + 8 * (i / 2), lane % 4 * 2 + i % 2};
}

template <class Mma>
typename Mma::C mma(const typename Mma::A& a, const typename Mma::B& b, const typename Mma::C& c,
                    Site site) {
  using Element = typename Mma::Element;
  using Sum = std::remove_cvref_t<decltype(c[0])>;
  static constexpr int in_a = Mma::m * Mma::k / 32, in_b = Mma::k * Mma::n / 32;
  static constexpr int in_c = Mma::m * Mma::n / 32, packed = sizeof(Element) == 2 ? 2 : 1;
  struct Operands {
    Element a[in_a], b[in_b];
    typename Mma::C c;
  };
  Operands own{{}, {}, c};
  static_assert(sizeof(own.a) == sizeof(a) && sizeof(own.b) == sizeof(b));
  std::memcpy(own.a, &a, sizeof(a));
  std::memcpy(own.b, &b, sizeof(b));

  const Complete complete = [](void* const* operands, unsigned) {
    Sum rows[Mma::m][Mma::k], columns[Mma::n][Mma::k];
    for (int lane = 0; lane < 32; ++lane) {
      const auto& from = *static_cast<Operands*>(operands[lane]);
      for (int i = 0; i < in_a; ++i) {
        const Place at = place_in_a(lane, i, packed);
        rows[at.row][at.column] = static_cast<Sum>(from.a[i]);
      }
      for (int i = 0; i < in_b; ++i) {
        const Place at = place_in_b(lane, i, packed);
        columns[at.column][at.row] = static_cast<Sum>(from.b[i]);
      }
    }
    for (int lane = 0; lane < 32; ++lane)
      for (int i = 0; i < in_c; ++i) {
        const Place at = place_in_c(lane, i);
        Sum& sum = static_cast<Operands*>(operands[lane])->c[i];
        sum = multiply_add(rows[at.row], columns[at.column], Mma::k, sum);
      }
  };
  rendezvous(whole_warp, Mma::name, &own, complete, site);
  return own.c;
}

/// cvt.rna.tf32.f32: to nearest, ties away from zero, as ptxas spells it out for sm_80: it adds
/// half a step to a finite number and cuts the low bits, of a NaN too.
inline unsigned to_tf32(float value) {
  constexpr unsigned low_bits = 0x1fff, half = 0x1000;
  return (std::bit_cast<unsigned>(value) + (std::isfinite(value) ? half : 0)) & ~low_bits;
}

}  // namespace cnnkern::emulator
