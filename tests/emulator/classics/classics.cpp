// classics [--seeds N] [--races] [--profile] [CASE…]: runs the classics in the emulator and
// compares with plain host code. Prints a line for each case, or what the emulator or the
// comparison said.
#include "classics.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "emulator/launch.h"
#include "guarded_buffer.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

// Small integers: every sum is exact in float, whatever its order.
std::vector<float> random_integers(int count, uint64_t seed) {
  RandomIntegers random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random(8));
  return values;
}

template <class T>
void compare(const std::vector<T>& result, const std::vector<T>& expected) {
  for (size_t i = 0; i < expected.size(); ++i)
    if (result[i] != expected[i])
      throw std::runtime_error("wrong result: element " + std::to_string(i) + " is " +
                               std::to_string(result[i]) + ", expected " +
                               std::to_string(expected[i]));
}

template <Sgemm version>
void run_sgemm(uint64_t seed) {
  struct Size {
    int m, n, k;
  };
  for (const auto [m, n, k] : {Size{33, 18, 50}, Size{16, 32, 48}, Size{1, 1, 1}}) {
    const auto a = random_integers(m * k, seed), b = random_integers(k * n, seed + 1);
    std::vector<float> result(m * n), expected(m * n);
    for (int row = 0; row < m; ++row)
      for (int column = 0; column < n; ++column)
        for (int i = 0; i < k; ++i)
          expected[row * n + column] += a[row * k + i] * b[i * n + column];
    launch_sgemm<version>(a.data(), b.data(), result.data(), m, n, k, nullptr);
    compare(result, expected);
  }
}

template <Transpose version>
void run_transpose(uint64_t seed) {
  struct Size {
    int rows, columns;
  };
  for (const auto [rows, columns] : {Size{64, 96}, Size{45, 70}, Size{1, 33}}) {
    const auto in = random_integers(rows * columns, seed);
    std::vector<float> result(in.size()), expected(in.size());
    for (int row = 0; row < rows; ++row)
      for (int column = 0; column < columns; ++column)
        expected[column * rows + row] = in[row * columns + column];
    launch_transpose<version>(in.data(), result.data(), rows, columns, nullptr);
    compare(result, expected);
  }
}

template <Reduction version>
void run_reduction(uint64_t seed) {
  for (const int count : {10000, 1280, 7}) {
    const auto values = random_integers(count, seed);
    std::vector<float> sums(reduction_blocks), result(1), expected(1);
    for (const float value : values) expected[0] += value;
    launch_reduction<version>(values.data(), count, sums.data(), nullptr);
    for (const float sum : sums) result[0] += sum;
    compare(result, expected);
  }
}

template <Histogram version>
void run_histogram(uint64_t seed) {
  for (const int count : {5000, 192, 1}) {
    RandomIntegers random(seed);
    std::vector<unsigned char> values(count);
    std::vector<unsigned> counts(histogram_blocks * histogram_bins);
    std::vector<unsigned> result(histogram_bins), expected(histogram_bins);
    for (unsigned char& value : values) {
      value = static_cast<unsigned char>(random(31) + 31);
      ++expected[value];
    }
    launch_histogram<version>(values.data(), count, counts.data(), nullptr);
    for (size_t i = 0; i < counts.size(); ++i) result[i % histogram_bins] += counts[i];
    compare(result, expected);
  }
}

struct Case {
  const char* name;
  void (*run)(uint64_t seed);
};
constexpr Case cases[] = {
    {"sgemm", run_sgemm<Sgemm::right>},
    {"sgemm_without_second_barrier", run_sgemm<Sgemm::without_second_barrier>},
    {"transpose", run_transpose<Transpose::right>},
    {"transpose_unpadded", run_transpose<Transpose::unpadded>},
    {"transpose_uncoalesced", run_transpose<Transpose::uncoalesced>},
    {"reduction", run_reduction<Reduction::right>},
    {"reduction_without_barrier", run_reduction<Reduction::without_barrier>},
    {"reduction_without_sync_warp", run_reduction<Reduction::without_sync_warp>},
    {"histogram", run_histogram<Histogram::right>},
    {"histogram_without_barrier", run_histogram<Histogram::without_barrier>},
};

bool run(const Case& one, uint64_t seeds) {
  try {
    for (uint64_t seed = 0; seed < seeds; ++seed) {
      emulator::set_seed(seed);
      one.run(seed);
    }
  } catch (const std::exception& error) {
    std::printf("FAILED %s\n%s\n", one.name, error.what());
    return false;
  }
  std::printf("ok %s\n", one.name);
  return true;
}

}  // namespace
}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE

int main(int argc, char** argv) {
  using namespace cnnkern::CNNKERN_CUDA_NAMESPACE;
  uint64_t seeds = 1;
  int ran = 0, failed = 0;
  std::vector<std::string> wanted;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--seeds") == 0 && i + 1 < argc)
      seeds = std::strtoull(argv[++i], nullptr, 10);
    else wanted.emplace_back(argv[i]);
  }
  for (const Case& one : cases) {
    bool chosen = wanted.empty();
    for (const std::string& name : wanted) chosen = chosen || name == one.name;
    if (!chosen) continue;
    ++ran;
    failed += !run(one, seeds);
  }
  std::printf("%d ran, %d failed\n", ran, failed);
  return failed != 0 || ran == 0;
}
