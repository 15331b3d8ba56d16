// What CuTe says of the matrix instructions, evaluated on the host; twin_layouts.cpp prints the
// same lines of what the emulator's twins do.
//   <mma> d<lane>.<element> += a<lane>.<element> * b<lane>.<element>
//   <ldmatrix> r<lane>.<element> = row<lane>.<element>
#include <cstdio>
#include <cute/atom/copy_traits_sm75.hpp>
#include <cute/atom/mma_traits_sm75.hpp>
#include <cute/atom/mma_traits_sm80.hpp>

namespace {

// Layouts map (lane, element) to row + rows · column; A is m × k, B is n × k, C is m × n.
template <class Atom>
void print_mma(const char* name) {
  using Traits = cute::MMA_Traits<Atom>;
  const typename Traits::ALayout a;
  const typename Traits::BLayout b;
  const typename Traits::CLayout c;
  const int m = cute::size<0>(typename Traits::Shape_MNK());
  const int n = cute::size<1>(typename Traits::Shape_MNK());
  for (int d = 0; d < cute::size(c); ++d)
    for (int i = 0; i < cute::size(a); ++i)
      for (int j = 0; j < cute::size(b); ++j) {
        const int at = c(d % 32, d / 32), left = a(i % 32, i / 32), right = b(j % 32, j / 32);
        if (left % m == at % m && right % n == at / m && left / m == right / n)
          std::printf("%s d%d.%d += a%d.%d * b%d.%d\n", name, d % 32, d / 32, i % 32, i / 32,
                      j % 32, j / 32);
      }
}

// Layouts map (lane, bit) to a bit that both sides name alike. Where several lanes give the same
// row, the first of them is asked.
template <class Atom>
void print_ldmatrix(const char* name) {
  using Traits = cute::Copy_Traits<Atom>;
  const typename Traits::SrcLayout source;
  const typename Traits::DstLayout destination;
  constexpr int element_bits = 16;
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < cute::size<1>(destination) / element_bits; ++i) {
      const int bit = destination(lane, element_bits * i);
      int row = 0, j = 0;
      while (source(row, element_bits * j) != bit)
        if (++j == cute::size<1>(source) / element_bits) j = 0, ++row;
      std::printf("%s r%d.%d = row%d.%d\n", name, lane, i, row, j);
    }
}

}  // namespace

int main() {
  print_mma<cute::SM75_16x8x8_F32F16F16F32_TN>("mma.m16n8k8.f16");
  print_mma<cute::SM80_16x8x16_F32F16F16F32_TN>("mma.m16n8k16.f16");
  print_mma<cute::SM80_16x8x16_F32BF16BF16F32_TN>("mma.m16n8k16.bf16");
  print_mma<cute::SM80_16x8x8_F32TF32TF32F32_TN>("mma.m16n8k8.tf32");
  print_mma<cute::SM80_8x8x4_F64F64F64F64_TN>("mma.m8n8k4.f64");
  print_ldmatrix<cute::SM75_U32x1_LDSM_N>("ldmatrix.x1");
  print_ldmatrix<cute::SM75_U32x2_LDSM_N>("ldmatrix.x2");
  print_ldmatrix<cute::SM75_U32x4_LDSM_N>("ldmatrix.x4");
  print_ldmatrix<cute::SM75_U16x2_LDSM_T>("ldmatrix.x1.trans");
  print_ldmatrix<cute::SM75_U16x4_LDSM_T>("ldmatrix.x2.trans");
  print_ldmatrix<cute::SM75_U16x8_LDSM_T>("ldmatrix.x4.trans");
}
