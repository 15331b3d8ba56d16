// ldmatrix: a full warp loads 1, 2 or 4 matrices of 8 × 8 16-bit elements from shared memory (sm_75
// on), laid out as mma.cuh wants them. PTX ISA, "ldmatrix".
//
//   const Vector<unsigned, 4> a = ldmatrix<4>(&shared.a[row_of(lane_index())][0]);
//
// Lane 8·i + r gives the address of row r of matrix i: 16 bytes, aligned to 16. Register i of a
// lane then holds two neighbours of matrix i: those at row lane / 4 from column 2 · (lane % 4) on,
// or, of the transposed, at column lane / 4 from row 2 · (lane % 4) on.
//
// With fewer than four matrices the addresses of lanes 8·N and up are not used; sm_75 demands valid
// ones there too.
#pragma once

#include "cuda/primitives/ldst.cuh"

#if defined(CNNKERN_EMULATOR)
#include "emulator/matrix_twins.h"
#endif

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

#if defined(CNNKERN_EMULATOR)

template <int N>
Vector<unsigned, N> ldmatrix(const void* row, emulator::Site site = emulator::Site::current()) {
  return emulator::ldmatrix<Vector<unsigned, N>, N, false>(row, CNNKERN_ARCH, site);
}

template <int N>
Vector<unsigned, N> ldmatrix_transposed(const void* row,
                                        emulator::Site site = emulator::Site::current()) {
  return emulator::ldmatrix<Vector<unsigned, N>, N, true>(row, CNNKERN_ARCH, site);
}

#else

template <int N>
__device__ __forceinline__ Vector<unsigned, N> ldmatrix(const void* row) {
  static_assert(N == 1 || N == 2 || N == 4);
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  Vector<unsigned, N> r;
  if constexpr (N == 1)
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
                 : "=r"(r[0])
                 : "r"(address)
                 : "memory");
  else if constexpr (N == 2)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(address)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
  return r;
}

template <int N>
__device__ __forceinline__ Vector<unsigned, N> ldmatrix_transposed(const void* row) {
  static_assert(N == 1 || N == 2 || N == 4);
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  Vector<unsigned, N> r;
  if constexpr (N == 1)
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
                 : "=r"(r[0])
                 : "r"(address)
                 : "memory");
  else if constexpr (N == 2)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(address)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
  return r;
}

#endif

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
