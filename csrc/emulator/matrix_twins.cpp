#include "emulator/matrix_twins.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace cnnkern::emulator {
namespace {

MmaRounding rounding_from_environment() {
  const char* text = std::getenv("CNNKERN_EMULATOR_MMA");
  const std::string name = text == nullptr ? "to_nearest" : text;
  if (name == "to_nearest") return MmaRounding::to_nearest;
  if (name == "toward_zero") return MmaRounding::toward_zero;
  throw std::invalid_argument("emulator: CNNKERN_EMULATOR_MMA is '" + name +
                              "', but must be to_nearest or toward_zero");
}

std::atomic<MmaRounding>& mma_rounding() {
  static std::atomic<MmaRounding> value(rounding_from_environment());
  return value;
}

// A product of two 11-bit mantissas is exact in double, and so is the sum unless its addends lie
// far apart.
float sum_to_nearest(const float* a, const float* b, int k, float c) {
  double sum = c;
  for (int i = 0; i < k; ++i) sum += static_cast<double>(a[i]) * b[i];
  return static_cast<float>(sum);
}

float round_toward_zero(double value) {
  const auto nearest = static_cast<float>(value);
  if (std::isinf(nearest) || std::fabs(nearest) <= std::fabs(value)) return nearest;
  return std::nextafter(nearest, 0.0f);
}

// The addends are shifted to the largest exponent among them and lose what falls below its 24 bits;
// the sum of what is left is exact, and cut to 24 bits.
float aligned_sum(const double* addends, int count) {
  constexpr int float_bits = 24, lowest_exponent = -149;  // of a float32's mantissa and last bit
  double plain = 0, largest = 0;
  for (int i = 0; i < count; ++i) {
    plain += addends[i];
    largest = std::max(largest, std::fabs(addends[i]));
  }
  if (!std::isfinite(plain) || largest == 0) return static_cast<float>(plain);
  const int last_bit = std::max(std::ilogb(largest) + 1 - float_bits, lowest_exponent);
  double sum = 0;
  for (int i = 0; i < count; ++i) sum += std::trunc(std::ldexp(addends[i], -last_bit));
  return round_toward_zero(std::ldexp(sum, last_bit));
}

float sum_toward_zero(const float* a, const float* b, int k, float c) {
  constexpr int products = 4;  // that one step adds
  for (int first = 0; first < k; first += products) {
    double addends[products + 1] = {c};
    for (int i = 0; i < products; ++i)
      addends[i + 1] = static_cast<double>(a[first + i]) * b[first + i];
    c = aligned_sum(addends, products + 1);
  }
  return c;
}

}  // namespace

void set_mma_rounding(MmaRounding rounding) { mma_rounding() = rounding; }

float multiply_add(const float* a, const float* b, int k, float c) {
  return mma_rounding() == MmaRounding::to_nearest ? sum_to_nearest(a, b, k, c)
                                                   : sum_toward_zero(a, b, k, c);
}

double multiply_add(const double* a, const double* b, int k, double c) {
  for (int i = 0; i < k; ++i) c = std::fma(a[i], b[i], c);
  return c;
}

}  // namespace cnnkern::emulator
