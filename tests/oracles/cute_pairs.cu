// Kernels that must become the same machine code with `ours`, through our primitives, and without,
// through NVIDIA's wrappers in CuTe. tests/test_oracles.py compares their SASS.
#include <cute/arch/copy_sm75.hpp>
#include <cute/arch/copy_sm80.hpp>
#include <cute/arch/mma_sm75.hpp>
#include <cute/arch/mma_sm80.hpp>
#include <tuple>
#include <utility>

#include "cuda/primitives/cp_async.cuh"
#include "cuda/primitives/ldmatrix.cuh"
#include "cuda/primitives/mma.cuh"

namespace cnnkern::cuda {

extern __shared__ __align__(16) unsigned char shared_memory[];

// An atom takes its registers one by one.
template <class Registers>
constexpr auto indices = std::make_index_sequence<std::extent_v<Registers>>();

// --- ldmatrix --------------------------------------------------------------------------------

template <class Atom, class Registers, size_t... i>
__device__ void cute_load(const void* row, Registers& r, std::index_sequence<i...>) {
  Atom::copy(*static_cast<const cute::uint128_t*>(row), r[i]...);
}

template <bool ours, class Atom, bool transposed>
__global__ void load_matrices(unsigned* out) {
  constexpr int count = std::extent_v<typename Atom::DRegisters>;
  const void* row = shared_memory + 16 * threadIdx.x;
  Vector<unsigned, count> r;
  if constexpr (!ours) cute_load<Atom>(row, r, indices<typename Atom::DRegisters>);
  else if constexpr (transposed) r = ldmatrix_transposed<count>(row);
  else r = ldmatrix<count>(row);
  for (int i = 0; i < count; ++i) out[32 * i + threadIdx.x] = r[i];
}

// --- mma -------------------------------------------------------------------------------------

template <class Atom, class A, class B, class C, size_t... i, size_t... j, size_t... k>
__device__ void cute_multiply(const A& a, const B& b, const C& c, C& d, std::index_sequence<i...>,
                              std::index_sequence<j...>, std::index_sequence<k...>) {
  Atom::fma(d[k]..., a[i]..., b[j]..., c[k]...);
}

template <bool ours, class Mma, class Atom>
__global__ void multiply(const typename Mma::A* a, const typename Mma::B* b, typename Mma::C* c) {
  const int i = threadIdx.x;
  typename Mma::C d;
  if constexpr (ours) d = mma<Mma>(a[i], b[i], c[i]);
  else
    cute_multiply<Atom>(a[i], b[i], c[i], d, indices<typename Atom::ARegisters>,
                        indices<typename Atom::BRegisters>, indices<typename Atom::CRegisters>);
  c[i] = d;
}

#if CNNKERN_ARCH == 0 || CNNKERN_ARCH >= 800

// --- cp.async --------------------------------------------------------------------------------

template <bool ours, int bytes>
__global__ void copy_async(const cute::uint128_t* in, int valid) {
  const int i = threadIdx.x;
  const bool inside = i < valid;
  void* to = shared_memory + 16 * i;
  if constexpr (ours) {
    if constexpr (bytes == 16) cp_async_16(to, in + i, inside);
    else if constexpr (bytes == 8) cp_async_8(to, in + i, inside);
    else cp_async_4(to, in + i, inside);
    cp_async_commit();
    cp_async_wait<1>();
  } else {
    if constexpr (bytes == 16)
      cute::SM80_CP_ASYNC_CACHEGLOBAL_ZFILL<cute::uint128_t>::copy(
          in[i], *static_cast<cute::uint128_t*>(to), inside);
    else {
      using Piece = std::conditional_t<bytes == 8, uint64_t, unsigned>;
      cute::SM80_CP_ASYNC_CACHEALWAYS_ZFILL<Piece>::copy(reinterpret_cast<const Piece&>(in[i]),
                                                         *static_cast<Piece*>(to), inside);
    }
    cute::cp_async_fence();
    cute::cp_async_wait<1>();
  }
}

#endif

// --- What is compiled --------------------------------------------------------------------------

template <bool ours>
auto kernels_sm75 = std::tuple(load_matrices<ours, cute::SM75_U32x1_LDSM_N, false>,
                               load_matrices<ours, cute::SM75_U32x2_LDSM_N, false>,
                               load_matrices<ours, cute::SM75_U32x4_LDSM_N, false>,
                               load_matrices<ours, cute::SM75_U16x2_LDSM_T, true>,
                               load_matrices<ours, cute::SM75_U16x4_LDSM_T, true>,
                               load_matrices<ours, cute::SM75_U16x8_LDSM_T, true>,
                               multiply<ours, Mma16x8x8F16, cute::SM75_16x8x8_F32F16F16F32_TN>);
auto pairs_sm75 = std::tuple(kernels_sm75<true>, kernels_sm75<false>);

#if CNNKERN_ARCH == 0 || CNNKERN_ARCH >= 800
template <bool ours>
auto kernels_sm80 = std::tuple(multiply<ours, Mma16x8x16F16, cute::SM80_16x8x16_F32F16F16F32_TN>,
                               multiply<ours, Mma16x8x16Bf16, cute::SM80_16x8x16_F32BF16BF16F32_TN>,
                               multiply<ours, Mma16x8x8Tf32, cute::SM80_16x8x8_F32TF32TF32F32_TN>,
                               multiply<ours, Mma8x8x4F64, cute::SM80_8x8x4_F64F64F64F64_TN>,
                               copy_async<ours, 16>, copy_async<ours, 8>, copy_async<ours, 4>);
auto pairs_sm80 = std::tuple(kernels_sm80<true>, kernels_sm80<false>);
#endif

}  // namespace cnnkern::cuda
