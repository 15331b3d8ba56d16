// classics [--profile] [CASE…]: runs the classics in the emulator and compares with plain host
// code. Prints a line for each case, or what the emulator or the comparison said; --profile prints
// what each access of each launch costs. The environment chooses the rest: CNNKERN_EMULATOR_RACES=1
// looks for races, CNNKERN_EMULATOR_SEED is the order of threads and the data.
#include "classics.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "emulator/launch.h"
#include "emulator/profile.h"
#include "guarded_buffer.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

constexpr int bound = 8;  // of the random integers: every sum is exact in float, in any order

/// Floats between guards, aligned as cudaMalloc aligns.
struct Floats : GuardedBuffer {
  explicit Floats(int count) : GuardedBuffer(count, sizeof(float), 0) {}
  Floats(int count, uint64_t seed) : Floats(count) {
    RandomIntegers random(seed);
    fill_integers(DType::float32, random, bound);
  }
  float& operator[](int i) { return as<float>()[i]; }
  operator float*() { return as<float>(); }
};

void compare(GuardedBuffer& result, GuardedBuffer& expected) {
  if (const int64_t at = result.first_difference(expected); at >= 0)
    throw std::runtime_error("wrong result: element " + std::to_string(at));
  if (!result.guards_intact()) throw std::runtime_error("written outside of the result");
}

template <Sgemm version>
void run_sgemm(uint64_t seed) {
  struct Size {
    int m, n, k;
  };
  for (const auto [m, n, k] : {Size{32, 48, 64}, Size{33, 18, 50}, Size{1, 1, 1}}) {
    Floats a(m * k, seed), b(k * n, seed + 1), result(m * n), expected(m * n);
    for (int row = 0; row < m; ++row)
      for (int column = 0; column < n; ++column) {
        float sum = 0;
        for (int i = 0; i < k; ++i) sum += a[row * k + i] * b[i * n + column];
        expected[row * n + column] = sum;
      }
    launch_sgemm<version>(a, b, result, m, n, k, nullptr);
    compare(result, expected);
  }
}

template <Transpose version>
void run_transpose(uint64_t seed) {
  struct Size {
    int rows, columns;
  };
  for (const auto [rows, columns] : {Size{64, 96}, Size{45, 70}, Size{1, 33}}) {
    Floats in(rows * columns, seed), result(rows * columns), expected(rows * columns);
    for (int row = 0; row < rows; ++row)
      for (int column = 0; column < columns; ++column)
        expected[column * rows + row] = in[row * columns + column];
    launch_transpose<version>(in, result, rows, columns, nullptr);
    compare(result, expected);
  }
}

template <Reduction version>
void run_reduction(uint64_t seed) {
  for (const int count : {10000, 1280, 7}) {
    Floats values(count, seed), sums(reduction_blocks), result(1), expected(1);
    result[0] = expected[0] = 0;
    for (int i = 0; i < count; ++i) expected[0] += values[i];
    launch_reduction<version>(values, count, sums, nullptr);
    for (int block = 0; block < reduction_blocks; ++block) result[0] += sums[block];
    compare(result, expected);
  }
}

template <Histogram version>
void run_histogram(uint64_t seed) {
  for (const int count : {5000, 192, 1}) {
    GuardedBuffer values(count, 1, 0), counts(histogram_blocks * histogram_bins, 4, 0);
    GuardedBuffer result(histogram_bins, 4, 0), expected(histogram_bins, 4, 0);
    RandomIntegers random(seed);
    std::fill_n(result.as<unsigned>(), histogram_bins, 0u);
    std::fill_n(expected.as<unsigned>(), histogram_bins, 0u);
    for (int i = 0; i < count; ++i) {
      values.as<unsigned char>()[i] = static_cast<unsigned char>(random(31) + 31);
      ++expected.as<unsigned>()[values.as<unsigned char>()[i]];
    }
    launch_histogram<version>(values.as<unsigned char>(), count, counts.as<unsigned>(), nullptr);
    for (int i = 0; i < histogram_blocks * histogram_bins; ++i)
      result.as<unsigned>()[i % histogram_bins] += counts.as<unsigned>()[i];
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

void print(const emulator::LaunchProfile& launch) {
  std::printf("%s, grid (%u, %u): %llu barriers\n", launch.kernel.c_str(), launch.grid.x,
              launch.grid.y, static_cast<unsigned long long>(launch.barriers));
  for (const emulator::SiteProfile& site : launch.sites) {
    const std::string file = site.file.substr(site.file.rfind('/') + 1);
    const auto requests = static_cast<unsigned long long>(site.requests);
    std::printf("  %s:%-3u %-13s %4llu requests, ", file.c_str(), site.line, site.kind.c_str(),
                requests);
    const auto each = [&](uint64_t count) {
      return static_cast<double>(count) / static_cast<double>(site.requests);
    };
    if (site.phases == 0)
      std::printf("%.1f sectors each, %.1f needed\n", each(site.sectors), each(site.ideal_sectors));
    else if (site.max_ways == 1) std::printf("no bank conflicts\n");
    else std::printf("%d-way bank conflicts\n", static_cast<int>(site.max_ways));
  }
}

bool run(const Case& one, bool profile) {
  const char* const seed = std::getenv("CNNKERN_EMULATOR_SEED");
  try {
    if (profile) emulator::start_profile();
    one.run(seed == nullptr ? 0 : std::strtoull(seed, nullptr, 10));
    if (profile)
      for (const auto& launch : emulator::take_profile()) print(launch);
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
  bool profile = false;
  int ran = 0, failed = 0;
  std::vector<std::string> wanted;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--profile") == 0) profile = true;
    else wanted.emplace_back(argv[i]);
  }
  for (const Case& one : cases) {
    bool chosen = wanted.empty();
    for (const std::string& name : wanted) chosen = chosen || name == one.name;
    if (!chosen) continue;
    ++ran;
    failed += !run(one, profile);
  }
  std::printf("%d ran, %d failed\n", ran, failed);
  return failed != 0 || ran == 0;
}
