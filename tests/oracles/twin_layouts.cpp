// What the emulator's twins of the matrix instructions do with each element that goes in, found out
// by running them on elements that say where they are; in the words of cute_layouts.cpp.
#include <cstdio>
#include <cstring>
#include <vector>

#include "cuda/primitives/ldmatrix.cuh"
#include "cuda/primitives/mma.cuh"
#include "cuda/primitives/shared.cuh"
#include "cuda/primitives/warp.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

template <class Element>
Element make_element(int value) {
  const auto number = static_cast<float>(value);
  if constexpr (std::is_same_v<Element, tfloat32>) return {to_tf32(number)};
  else return Element(number);
}

// Block x has a 1 in the x-th element of A and zeros elsewhere; the j-th element of B is j + 1, of
// which there are at most 128, so that each is exact in every type. What comes out names the
// element of B that met the 1.
template <class Mma>
__global__ void one_of_a_times_b(int* out) {
  using Element = typename Mma::Element;
  constexpr int in_a = sizeof(typename Mma::A) / sizeof(Element);
  constexpr int in_b = sizeof(typename Mma::B) / sizeof(Element);
  Element a[in_a], b[in_b];
  for (int i = 0; i < in_a; ++i)
    a[i] = make_element<Element>(static_cast<int>(blockIdx.x) == 32 * i + lane_index());
  for (int j = 0; j < in_b; ++j) b[j] = make_element<Element>(32 * j + lane_index() + 1);
  typename Mma::A registers_a;
  typename Mma::B registers_b;
  std::memcpy(&registers_a, a, sizeof(a));
  std::memcpy(&registers_b, b, sizeof(b));
  const auto d = mma<Mma>(registers_a, registers_b, {});
  for (int i = 0; i < Mma::m * Mma::n / 32; ++i)
    store_global(out + blockIdx.x * Mma::m * Mma::n + 32 * i + lane_index(),
                 static_cast<int>(d[i]));
}

template <class Mma>
void print_mma() {
  constexpr int from_a = Mma::m * Mma::k, into_d = Mma::m * Mma::n;
  std::vector<int> out(from_a * into_d);
  CNNKERN_LAUNCH(one_of_a_times_b<Mma>, from_a, 32, 0, nullptr, out.data());
  for (int i = 0; i < from_a; ++i)
    for (int d = 0; d < into_d; ++d)
      if (const int j = out[i * into_d + d] - 1; j >= 0)
        std::printf("%s d%d.%d += a%d.%d * b%d.%d\n", Mma::name, d % 32, d / 32, i % 32, i / 32,
                    j % 32, j / 32);
}

struct Rows {
  alignas(16) uint16_t element[32][8];
};

template <int N, bool transposed>
__global__ void load_matrices(uint16_t* out) {
  CNNKERN_SHARED(Rows, shared);
  const int lane = lane_index();
  for (int j = 0; j < 8; ++j)
    store_shared(&shared.element[lane][j], static_cast<uint16_t>(8 * lane + j));
  __syncthreads();
  const void* row = shared.element[lane];
  const auto loaded = transposed ? ldmatrix_transposed<N>(row) : ldmatrix<N>(row);
  for (int i = 0; i < 2 * N; ++i)
    store_global(out + 2 * N * lane + i, static_cast<uint16_t>(loaded[i / 2] >> 16 * (i % 2)));
}

template <int N, bool transposed>
void print_ldmatrix() {
  std::vector<uint16_t> out(64 * N);
  CNNKERN_LAUNCH((load_matrices<N, transposed>), 1, 32, sizeof(Rows), nullptr, out.data());
  for (int i = 0; i < 64 * N; ++i)
    std::printf("ldmatrix.x%d%s r%d.%d = row%d.%d\n", N, transposed ? ".trans" : "", i / (2 * N),
                i % (2 * N), out[i] / 8, out[i] % 8);
}

void print_all() {
  print_mma<Mma16x8x8F16>();
  print_mma<Mma16x8x16F16>();
  print_mma<Mma16x8x16Bf16>();
  print_mma<Mma16x8x8Tf32>();
  print_mma<Mma8x8x4F64>();
  print_ldmatrix<1, false>();
  print_ldmatrix<2, false>();
  print_ldmatrix<4, false>();
  print_ldmatrix<1, true>();
  print_ldmatrix<2, true>();
  print_ldmatrix<4, true>();
}

}  // namespace
}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE

int main() { cnnkern::CNNKERN_CUDA_NAMESPACE::print_all(); }
