// ldmatrix and mma: do they compute what they should, round as they are told, and report misuse?
// That their layouts are NVIDIA's is shown in tests/test_oracles.py.
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "cuda/primitives/ldmatrix.cuh"
#include "cuda/primitives/mma.cuh"
#include "cuda/primitives/shared.cuh"
#include "cuda/primitives/warp.cuh"
#include "emulator/launch.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

using testing::check_throws;

constexpr float infinity = std::numeric_limits<float>::infinity();

struct Rounding {
  explicit Rounding(emulator::MmaRounding rounding) { emulator::set_mma_rounding(rounding); }
  ~Rounding() { emulator::set_mma_rounding(emulator::MmaRounding::to_nearest); }
};

// --- A GEMM of one block through shared memory -------------------------------------------------

constexpr int m = 32, n = 16, k = 48;

// A is stored by rows; B by rows of k (b[k][n]) or, as the instruction has it, by columns
// (b[n][k]).
template <class T>
struct Operands {
  static constexpr int pad = 16 / sizeof(T);
  alignas(16) T a[m][k + pad], b[k][n + pad], b_columns[n][k + pad];
};

template <class T>
__device__ void stage(Operands<T>& shared, const T* a, const T* b) {
  for (int i = threadIdx.x; i < m * k; i += 32)
    store_shared(&shared.a[i / k][i % k], load_global<T>(a + i));
  for (int i = threadIdx.x; i < k * n; i += 32) {
    store_shared(&shared.b[i / n][i % n], load_global<T>(b + i));
    store_shared(&shared.b_columns[i % n][i / n], load_global<T>(b + i));
  }
  __syncthreads();
}

template <class Sum, class C>
__device__ void store_tile(Sum* c, int row, int column, const C& sum) {
  const int lane = lane_index();
  for (int i = 0; i < static_cast<int>(sizeof(C) / sizeof(Sum)); ++i)
    store_global(c + (row + lane / 4 + 8 * (i / 2)) * n + column + lane % 4 * 2 + i % 2, sum[i]);
}

// 16-bit elements: A through ldmatrix, B through ldmatrix.trans from its rows or ldmatrix from its
// columns.
template <class Mma, bool transposed>
__global__ void gemm_16_bit(const typename Mma::Element* a, const typename Mma::Element* b,
                            float* c) {
  CNNKERN_SHARED(Operands<typename Mma::Element>, shared);
  stage(shared, a, b);
  constexpr int matrices = Mma::k / 8;  // of B; A has twice as many
  const int lane = lane_index(), i = lane % 8, half = lane / 8 % 2, quarter = lane / 16;
  for (int row = 0; row < m; row += 16)
    for (int column = 0; column < n; column += 8) {
      typename Mma::C sum{};
      for (int depth = 0; depth < k; depth += Mma::k) {
        const auto fragment =
            ldmatrix<2 * matrices>(&shared.a[row + i + 8 * half][depth + 8 * quarter % Mma::k]);
        const int at = depth + 8 * half % Mma::k;
        if constexpr (transposed)
          sum = mma<Mma>(fragment, ldmatrix_transposed<matrices>(&shared.b[at + i][column]), sum);
        else sum = mma<Mma>(fragment, ldmatrix<matrices>(&shared.b_columns[column + i][at]), sum);
      }
      store_tile(c, row, column, sum);
    }
}

// 32- and 64-bit elements, which ldmatrix does not know, from shared memory one by one.
template <class Mma, class T>
__global__ void gemm(const T* a, const T* b, T* c) {
  CNNKERN_SHARED(Operands<T>, shared);
  stage(shared, a, b);
  const int lane = lane_index();
  const auto element = [](const T& from) {
    if constexpr (sizeof(T) == 8) return load_shared<T>(&from);
    else return to_tf32(load_shared<T>(&from));
  };
  for (int row = 0; row < m; row += Mma::m)
    for (int column = 0; column < n; column += 8) {
      typename Mma::C sum{};
      for (int depth = 0; depth < k; depth += Mma::k) {
        typename Mma::A fragment_a;
        typename Mma::B fragment_b;
        for (int r = 0; r < Mma::m * Mma::k / 32; ++r)
          fragment_a[r] =
              element(shared.a[row + lane / 4 + 8 * (r % 2)][depth + lane % 4 + 4 * (r / 2)]);
        for (int r = 0; r < Mma::k / 4; ++r)
          fragment_b[r] = element(shared.b[depth + lane % 4 + 4 * r][column + lane / 4]);
        sum = mma<Mma>(fragment_a, fragment_b, sum);
      }
      store_tile(c, row, column, sum);
    }
}

// Small integers, whose sums are exact in whatever order and rounding.
template <class T, class Sum>
void check_gemm(void (*kernel)(const T*, const T*, Sum*)) {
  std::mt19937 random(1);
  std::vector<T> a(m * k), b(k * n);
  for (auto* matrix : {&a, &b})
    for (T& value : *matrix) value = T(static_cast<float>(random() % 17) - 8.0f);
  std::vector<Sum> expected(m * n);
  for (int row = 0; row < m; ++row)
    for (int column = 0; column < n; ++column)
      for (int depth = 0; depth < k; ++depth)
        expected[row * n + column] +=
            static_cast<Sum>(a[row * k + depth]) * static_cast<Sum>(b[depth * n + column]);
  for (const auto rounding :
       {emulator::MmaRounding::to_nearest, emulator::MmaRounding::toward_zero}) {
    const Rounding guard(rounding);
    std::vector<Sum> c(m * n);
    CNNKERN_LAUNCH(kernel, 1, 32, sizeof(Operands<T>), nullptr, a.data(), b.data(), c.data());
    CHECK(c == expected);
  }
}

TEST(gemm_of_float16) {
  check_gemm(&gemm_16_bit<Mma16x8x16F16, false>);
  check_gemm(&gemm_16_bit<Mma16x8x16F16, true>);
}
TEST(gemm_of_float16_for_sm75) {
  check_gemm(&gemm_16_bit<Mma16x8x8F16, false>);
  check_gemm(&gemm_16_bit<Mma16x8x8F16, true>);
}
TEST(gemm_of_bfloat16) {
  check_gemm(&gemm_16_bit<Mma16x8x16Bf16, false>);
  check_gemm(&gemm_16_bit<Mma16x8x16Bf16, true>);
}
TEST(gemm_of_tf32) { check_gemm(&gemm<Mma16x8x8Tf32, float>); }
TEST(gemm_of_float64) { check_gemm(&gemm<Mma8x8x4F64, double>); }

// --- Rounding --------------------------------------------------------------------------------

// One row times one column: the same in every element of D.
template <class Mma>
__global__ void one_dot_product(const typename Mma::Element* a, const typename Mma::Element* b,
                                float c, float* out) {
  using Element = typename Mma::Element;
  constexpr int packed = 4 / sizeof(Element);
  typename Mma::A fragment_a;
  typename Mma::B fragment_b;
  Element elements[sizeof(fragment_a) / sizeof(Element)];
  const int first = packed * (lane_index() % 4);
  const auto at = [&](int j, int step) { return first + j + 4 * packed * step; };
  for (int r = 0; r < Mma::m * Mma::k / 32 / packed; ++r)
    for (int j = 0; j < packed; ++j)
      elements[r * packed + j] = load_global<Element>(a + at(j, r / 2));
  std::memcpy(&fragment_a, elements, sizeof(fragment_a));
  for (int r = 0; r < Mma::k * Mma::n / 32 / packed; ++r)
    for (int j = 0; j < packed; ++j) elements[r * packed + j] = load_global<Element>(b + at(j, r));
  std::memcpy(&fragment_b, elements, sizeof(fragment_b));
  const auto d = mma<Mma>(fragment_a, fragment_b, {c, c, c, c});
  store_global(out + lane_index(), d[0]);
}

template <class Mma, class Convert>
float dot(const std::vector<float>& a, const std::vector<float>& b, float c, Convert&& convert) {
  std::vector<typename Mma::Element> left(Mma::k, convert(0.0f)), right = left;
  for (size_t i = 0; i < a.size(); ++i) left[i] = convert(a[i]), right[i] = convert(b[i]);
  std::vector<float> out(32);
  CNNKERN_LAUNCH((one_dot_product<Mma>), 1, 32, 0, nullptr, left.data(), right.data(), c,
                 out.data());
  for (const float value : out)
    CHECK(std::bit_cast<unsigned>(value) == std::bit_cast<unsigned>(out[0]));
  return out[0];
}

float dot_f16(const std::vector<float>& a, const std::vector<float>& b, float c) {
  return dot<Mma16x8x16F16>(a, b, c, [](float value) { return float16(value); });
}

float dot_tf32(const std::vector<float>& a, const std::vector<float>& b, float c) {
  return dot<Mma16x8x8Tf32>(a, b, c,
                            [](float value) { return tfloat32{std::bit_cast<unsigned>(value)}; });
}

TEST(tf32_drops_the_low_bits) {
  const float below = std::bit_cast<float>(0x3f801fffu);  // 1 and all bits that tf32 lacks
  CHECK(dot_tf32({below}, {1.0f}, 0.0f) == 1.0f);
  CHECK(dot_tf32({1.0f}, {-below}, 0.0f) == -1.0f);
  const float next = std::bit_cast<float>(0x3f802000u);  // the tf32 after 1
  CHECK(dot_tf32({next}, {1.0f}, 0.0f) == next);
  CHECK(dot_tf32({0.0f}, {1.0f}, below) == below);  // C is a float32
}

__global__ void round_to_tf32(float value, unsigned* out) { store_global(out, to_tf32(value)); }

unsigned tf32_of(unsigned bits) {
  unsigned out = 0;
  CNNKERN_LAUNCH(round_to_tf32, 1, 1, 0, nullptr, std::bit_cast<float>(bits), &out);
  return out;
}

TEST(to_tf32_rounds_to_nearest_and_ties_away_from_zero) {
  CHECK(tf32_of(0x3f800fff) == 0x3f800000);  // below half
  CHECK(tf32_of(0x3f801000) == 0x3f802000);  // a tie after an even mantissa
  CHECK(tf32_of(0x3f803000) == 0x3f804000);  // and after an odd one
  CHECK(tf32_of(0xbf801000) == 0xbf802000);
  CHECK(tf32_of(0x3ffff000) == 0x40000000);  // carries into the exponent
  CHECK(tf32_of(0x00001000) == 0x00002000 && tf32_of(0x00000fff) == 0);  // subnormal
  CHECK(tf32_of(0x80000000) == 0x80000000);
  CHECK(tf32_of(0x7f7fefff) == 0x7f7fe000 && tf32_of(0x7f7ff000) == 0x7f800000);  // overflows
  CHECK(tf32_of(0x7f800000) == 0x7f800000 && tf32_of(0xff800000) == 0xff800000);
  CHECK(tf32_of(0x7fffffff) == 0x7fffe000 && tf32_of(0xffc00000) == 0xffc00000);  // NaN
}

TEST(the_two_roundings_of_mma_differ_where_bits_are_dropped) {
  const float bit = std::ldexp(1.0f, -23), half = bit / 2;
  const auto both = [](const std::vector<float>& a, const std::vector<float>& b, float c) {
    const float nearest = dot_f16(a, b, c);
    const Rounding guard(emulator::MmaRounding::toward_zero);
    return std::pair(nearest, dot_f16(a, b, c));
  };
  const std::vector<float> ones(16, 1.0f);
  const float tiny = std::ldexp(1.0f, -12);  // tiny · tiny = half
  // Each product lies below the last bit of 1; together they are eight bits.
  const std::vector<float> tinies(16, tiny);
  CHECK(both(tinies, tinies, 1.0f) == std::pair(1.0f + 16 * half, 1.0f));
  CHECK(both(tinies, tinies, -1.0f) == std::pair(-1.0f + 16 * half, -1.0f));
  // The accumulator is cut as well, where a product is larger.
  CHECK(both({2.0f}, {1.0f}, 1.0f + bit) == std::pair(3.0f, 3.0f));  // a tie to even, and cut
  CHECK(both({2.0f}, {1.0f}, 1.0f + 3 * bit) == std::pair(3.0f + 4 * bit, 3.0f + 2 * bit));
  // Nothing is lost within one step, whatever its order: 2 + bits - 2.
  CHECK(both({1.0f, -1.0f}, {2.0f, 2.0f}, 2 * bit) == std::pair(2 * bit, 2 * bit));
  // Four products a step: the fifth meets a sum that has been cut.
  CHECK(both({0, 0, 0, 0, tiny, tiny}, tinies, 1.0f) == std::pair(1.0f + bit, 1.0f));
  CHECK(both(ones, ones, 0.5f) == std::pair(16.5f, 16.5f));
}

// Run by itself, before another case has chosen.
TEST(mma_rounds_as_the_environment_says) {
  const char* name = std::getenv("CNNKERN_EMULATOR_MMA");
  const bool cut = name != nullptr && std::strcmp(name, "toward_zero") == 0;
  const std::vector<float> tinies(16, std::ldexp(1.0f, -12));
  CHECK(dot_f16(tinies, tinies, 1.0f) == (cut ? 1.0f : 1.0f + std::ldexp(1.0f, -20)));
}

TEST(both_roundings_stay_near_the_exact_sum) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (const auto rounding :
       {emulator::MmaRounding::to_nearest, emulator::MmaRounding::toward_zero}) {
    const Rounding guard(rounding);
    for (int repeat = 0; repeat < 100; ++repeat) {
      std::vector<float> a(16), b(16);
      float c = normal(random);
      double exact = c, magnitude = std::fabs(c);
      for (int i = 0; i < 16; ++i) {
        a[i] = static_cast<float>(float16(normal(random)));
        b[i] = static_cast<float>(float16(normal(random)));
        exact += static_cast<double>(a[i]) * b[i];
        magnitude += std::fabs(static_cast<double>(a[i]) * b[i]);
      }
      // Four steps that each cut five addends and a sum by less than one bit of the largest.
      const int cuts = rounding == emulator::MmaRounding::to_nearest ? 1 : 4 * 6;
      CHECK(std::fabs(dot_f16(a, b, c) - exact) <= cuts * std::ldexp(magnitude, -23));
    }
  }
}

TEST(mma_keeps_infinities_and_nan) {
  for (const auto rounding :
       {emulator::MmaRounding::to_nearest, emulator::MmaRounding::toward_zero}) {
    const Rounding guard(rounding);
    CHECK(dot_f16({infinity}, {2.0f}, 1.0f) == infinity);
    CHECK(dot_f16({1.0f}, {1.0f}, -infinity) == -infinity);
    CHECK(std::isnan(dot_f16({infinity}, {0.0f}, 1.0f)));
    CHECK(std::isnan(dot_f16({infinity}, {1.0f}, -infinity)));
    CHECK(std::isnan(dot_f16({NAN}, {0.0f}, 1.0f)));
    CHECK(std::isnan(dot_f16({1.0f}, {1.0f}, NAN)));
    const float huge = std::ldexp(1.0f, 127);
    CHECK(dot_tf32({huge, huge}, {1.0f, 1.0f}, 0.0f) == infinity);
    const float small = std::ldexp(1.0f, -24);  // float16's smallest, and subnormal
    CHECK(dot_f16({small}, {small}, 0.0f) == std::ldexp(1.0f, -48));
    const float least = std::ldexp(1.0f, -70);  // the product is a subnormal float32
    CHECK(dot_tf32({least}, {least}, 0.0f) == std::ldexp(1.0f, -140));
  }
}

// --- Misuse ----------------------------------------------------------------------------------

struct Rows {
  alignas(16) uint16_t value[32][8];
};

// Each lane gives row (lane + shift) of shared memory, `offset` bytes further on.
template <int N, bool transposed>
__global__ void load_rows(int shift, int offset, unsigned* out) {
  CNNKERN_SHARED(Rows, shared);
  for (int j = 0; j < 8; ++j)
    store_shared(&shared.value[lane_index()][j], static_cast<uint16_t>(8 * lane_index() + j));
  __syncthreads();
  const char* row = reinterpret_cast<char*>(shared.value[0]) + 16 * (lane_index() + shift) + offset;
  const auto got = transposed ? ldmatrix_transposed<N>(row) : ldmatrix<N>(row);
  for (int i = 0; i < N; ++i) store_global(out + N * lane_index() + i, got[i]);
}

TEST(ldmatrix_checks_the_address_of_each_row) {
  std::vector<unsigned> out(128);
  for (const bool before : {false, true}) {
    const int shift = before ? -1 : 1;
    check_throws(
        [&] { CNNKERN_LAUNCH((load_rows<4, false>), 1, 32, 512, nullptr, shift, 0, out.data()); },
        {"out of the bounds of shared memory: 16 bytes", before ? "offset -16" : "offset 512",
         before ? "lane 0" : "lane 31", "test_matrix.cpp:"});
  }
  check_throws([&] { CNNKERN_LAUNCH((load_rows<2, true>), 1, 32, 512, nullptr, 0, 8, out.data()); },
               {"misaligned access to shared memory: 16 bytes at offset", "test_matrix.cpp:"});
}

TEST(ldmatrix_does_not_use_the_addresses_of_the_lanes_above) {
  std::vector<unsigned> out(32);
  CNNKERN_LAUNCH((load_rows<1, false>), 1, 32, 512, nullptr, 24, 0, out.data());
  for (unsigned lane = 0; lane < 32; ++lane) {
    const unsigned first = 8 * 24 + 2 * lane;
    CHECK(out[lane] == (first | (first + 1) << 16));
  }
}

__global__ void load_one_on_sm75() {
  CNNKERN_SHARED(Rows, shared);
  const void* row = lane_index() < 8 ? shared.value[lane_index()] : nullptr;
  emulator::ldmatrix<unsigned, 1, false>(row, 750, emulator::Site::current());
}

TEST(sm75_demands_valid_addresses_of_all_lanes) {
  check_throws([] { CNNKERN_LAUNCH(load_one_on_sm75, 1, 32, 512, nullptr); },
               {"out of the bounds of shared memory"});
}

__global__ void load_what_nobody_wrote(float* out) {
  CNNKERN_SHARED(Rows, shared);
  const auto got = ldmatrix<1>(shared.value[lane_index() % 8]);
  store_global(out + lane_index(), std::bit_cast<float>(got[0]));
}

TEST(ldmatrix_of_what_nobody_wrote_gives_nan) {
  std::vector<float> out(32);
  CNNKERN_LAUNCH(load_what_nobody_wrote, 1, 32, 512, nullptr, out.data());
  for (const float value : out) CHECK(std::isnan(value));
}

enum class Misuse { absent_lanes, another_site, another_shape, another_instruction };

__global__ void diverge(Misuse misuse) {
  CNNKERN_SHARED(Rows, shared);
  const bool some = lane_index() < 5;
  const void* row = shared.value[lane_index()];
  const Mma16x8x8F16::A a{};
  const Mma16x8x8F16::B b{};
  if (misuse == Misuse::absent_lanes && some) return;
  if (misuse == Misuse::another_site && some) mma<Mma16x8x8F16>(a, b, {});
  else if (misuse == Misuse::another_shape && some) mma<Mma8x8x4F64>({}, {}, {});
  else if (misuse == Misuse::another_instruction && some) ldmatrix<2>(row);
  else mma<Mma16x8x8F16>(a, b, {});
}

TEST(divergent_matrix_instructions_are_reported) {
  const auto launch = [](Misuse misuse) { CNNKERN_LAUNCH(diverge, 1, 32, 512, nullptr, misuse); };
  for (uint64_t seed = 0; seed < 4; ++seed) {
    emulator::set_seed(seed);
    check_throws([&] { launch(Misuse::absent_lanes); }, {"mma.m16n8k8.f16"});
    check_throws([&] { launch(Misuse::another_site); }, {"warp mismatch", "test_matrix.cpp:"});
    check_throws([&] { launch(Misuse::another_shape); },
                 {"warp mismatch", "mma.m16n8k8.f16", "mma.m8n8k4.f64"});
    check_throws([&] { launch(Misuse::another_instruction); },
                 {"warp mismatch", "mma.m16n8k8.f16", "ldmatrix.x2"});
  }
  check_throws([] { CNNKERN_LAUNCH(diverge, 1, 20, 512, nullptr, Misuse::another_site); },
               {"lanes that this warp does not have"});
}

}  // namespace
}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
