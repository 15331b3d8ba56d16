// The emulator itself: does it run what is right, and does it report what is wrong?
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <vector>

#include "check.h"
#include "cuda/primitives/ldst.cuh"
#include "cuda/primitives/shared.cuh"
#include "cuda/primitives/warp.cuh"
#include "emulator/launch.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

using testing::check_throws;

struct Tile {
  float value[64];
};

// --- What works ------------------------------------------------------------------------------

__global__ void write_indices(int* out) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  const unsigned index = block * blockDim.x * blockDim.y * blockDim.z + thread;
  store_global(out + index, static_cast<int>(index) + 1);
}

TEST(every_thread_of_every_block_runs_once) {
  std::vector<int> out(2 * 3 * 4 * 5 * 6 * 7);
  CNNKERN_LAUNCH(write_indices, dim3(2, 3, 4), dim3(5, 6, 7), 0, nullptr, out.data());
  for (size_t i = 0; i < out.size(); ++i) CHECK(out[i] == static_cast<int>(i) + 1);
}

__global__ void reverse(float* data) {
  CNNKERN_SHARED(Tile, shared);
  const int i = threadIdx.x;
  store_shared(&shared.value[i], load_global<float>(data + i));
  __syncthreads();
  store_global(data + i, load_shared<float>(&shared.value[63 - i]));
}

TEST(a_barrier_makes_shared_writes_visible) {
  for (uint64_t seed = 0; seed < 8; ++seed) {
    emulator::set_seed(seed);
    std::vector<float> data(64);
    std::iota(data.begin(), data.end(), 0.0f);
    CNNKERN_LAUNCH(reverse, 1, 64, sizeof(Tile), nullptr, data.data());
    for (int i = 0; i < 64; ++i) CHECK(data[i] == static_cast<float>(63 - i));
  }
}

__global__ void many_barriers(int* out, int rounds) {
  CNNKERN_SHARED(Tile, shared);
  const int i = threadIdx.x;
  store_shared(&shared.value[i], static_cast<float>(i));
  for (int round = 0; round < rounds; ++round) {
    __syncthreads();
    const float next = load_shared<float>(&shared.value[(i + 1) % 64]);
    __syncthreads();
    store_shared(&shared.value[i], next);
  }
  store_global(out + blockIdx.x * 64 + i, static_cast<int>(load_shared<float>(&shared.value[i])));
}

TEST(results_do_not_depend_on_seed_or_os_threads) {
  for (const int threads : {1, 4}) {
    emulator::set_threads(threads);
    for (uint64_t seed = 0; seed < 4; ++seed) {
      emulator::set_seed(seed);
      std::vector<int> out(20 * 64);
      CNNKERN_LAUNCH(many_barriers, 20, 64, sizeof(Tile), nullptr, out.data(), 100);
      for (size_t i = 0; i < out.size(); ++i) CHECK(out[i] == static_cast<int>((i + 100) % 64));
    }
  }
}

// The order in which threads come by is visible only to a kernel that breaks the rules.
__global__ void record_order(std::vector<int>* order) {
  order->push_back(static_cast<int>(threadIdx.x));
  __syncthreads();
  order->push_back(static_cast<int>(threadIdx.x));
}

std::vector<int> order_of(uint64_t seed) {
  emulator::set_seed(seed);
  std::vector<int> order;
  CNNKERN_LAUNCH(record_order, 1, 128, 0, nullptr, &order);
  return order;
}

TEST(thread_order_is_random_and_repeats_by_seed) {
  const std::vector<int> first = order_of(1);
  CHECK(first == order_of(1));
  CHECK(first != order_of(2));
  const std::vector<int> before(first.begin(), first.begin() + 128);
  const std::vector<int> after(first.begin() + 128, first.end());
  CHECK(before != after);
  CHECK(!std::is_sorted(before.begin(), before.end()));
}

__global__ void record_warps(std::vector<int>* order) {
  order->push_back(static_cast<int>(threadIdx.x) / 32);
}

// Without a barrier a warp may be done before another starts.
std::vector<int> order_of_warps(uint64_t seed) {
  emulator::set_seed(seed);
  std::vector<int> order;
  CNNKERN_LAUNCH(record_warps, 1, 128, 0, nullptr, &order);
  return order;
}

TEST(some_warps_lag_behind_the_others) {
  int far_behind = 0;
  for (uint64_t seed = 0; seed < 16; ++seed) {
    const std::vector<int> order = order_of_warps(seed);
    CHECK(order == order_of_warps(seed));
    const int last = order.back();
    far_behind += std::count(order.end() - 32, order.end(), last) == 32;
  }
  CHECK(far_behind > 0 && far_behind < 16);
}

__global__ void record_blocks(std::vector<int>* order) {
  order->push_back(static_cast<int>(blockIdx.x));
}

TEST(block_order_is_random_and_complete) {
  emulator::set_threads(1);
  emulator::set_seed(3);
  std::vector<int> order;
  CNNKERN_LAUNCH(record_blocks, 100, 1, 0, nullptr, &order);
  CHECK(!std::is_sorted(order.begin(), order.end()));
  std::sort(order.begin(), order.end());
  for (int i = 0; i < 100; ++i) CHECK(order[i] == i);
}

__global__ void read_shared(float* out) {
  CNNKERN_SHARED(Tile, shared);
  store_global(out + threadIdx.x, load_shared<float>(&shared.value[threadIdx.x]));
}

TEST(shared_memory_starts_as_nan_in_every_block) {
  std::vector<float> out(64, 0.0f);
  emulator::set_threads(1);
  for (int launch = 0; launch < 2; ++launch) {
    CNNKERN_LAUNCH(many_barriers, 1, 64, sizeof(Tile), nullptr, std::vector<int>(64).data(), 1);
    CNNKERN_LAUNCH(read_shared, 2, 64, sizeof(Tile), nullptr, out.data());
    for (const float value : out) CHECK(std::isnan(value));
  }
}

struct Params {
  int value[100];
};

__global__ void change_own_parameters(Params params, int* out) {
  store_global(out + threadIdx.x, params.value[99]++);
}

TEST(parameters_are_copied_for_each_thread) {
  Params params{};
  params.value[99] = 7;
  std::vector<int> out(64);
  CNNKERN_LAUNCH(change_own_parameters, 1, 64, 0, nullptr, params, out.data());
  for (const int value : out) CHECK(value == 7);
}

// --- What is reported ------------------------------------------------------------------------

__global__ void divergent_barrier() {
  if (threadIdx.x < 32) __syncthreads();
  else __syncthreads();
}

TEST(different_barriers_are_reported_with_both_places) {
  check_throws([] { CNNKERN_LAUNCH(divergent_barrier, 1, 64, 0, nullptr); },
               {"divergent barrier", "threads 0-31 wait in __syncthreads at", "threads 32-63 wait",
                "test_emulator.cpp:", "divergent_barrier", "CNNKERN_EMULATOR_SEED="});
}

__global__ void exit_past_barrier() {
  if (threadIdx.x >= 40) return;
  __syncthreads();
}

TEST(exit_past_a_barrier_is_reported) {
  check_throws([] { CNNKERN_LAUNCH(exit_past_barrier, 1, 64, 0, nullptr); },
               {"divergent barrier", "exited", "threads 0-39 wait in __syncthreads",
                "threads 40-63 exited"});
}

__global__ void barrier_against_warp() {
  if (threadIdx.x < 16) __syncthreads();
  else sync_warp(full_warp);
}

TEST(barrier_and_collective_that_wait_for_each_other_are_reported) {
  check_throws([] { CNNKERN_LAUNCH(barrier_against_warp, 1, 32, 0, nullptr); },
               {"never reach it", "threads 0-15 wait in __syncthreads",
                "threads 16-31 wait in sync_warp at", "for lanes 0-15"});
}

__global__ void store_at(int offset) {
  CNNKERN_SHARED(Tile, shared);
  if (threadIdx.x == 5) store_shared(&shared.value[0] + offset, 1.0f);
}

TEST(shared_store_out_of_bounds_names_the_thread) {
  check_throws([] { CNNKERN_LAUNCH(store_at, 1, 32, sizeof(Tile), nullptr, 64); },
               {"out of the bounds of shared memory", "4 bytes at offset 256 of the 256 bytes",
                "thread  (5, 0, 0), warp 0, lane 5", "test_emulator.cpp:"});
  check_throws([] { CNNKERN_LAUNCH(store_at, 1, 32, sizeof(Tile), nullptr, -1); },
               {"out of the bounds", "offset -4 of"});
}

#if !defined(__SANITIZE_ADDRESS__)  // which would end the process at the access itself
__global__ void write_past_the_end() {
  CNNKERN_SHARED(Tile, shared);
  float* volatile begin = shared.value;
  begin[66] = 1.0f;
}

TEST(raw_write_into_a_red_zone_is_reported_at_block_end) {
  check_throws([] { CNNKERN_LAUNCH(write_past_the_end, 1, 1, sizeof(Tile), nullptr); },
               {"written out of bounds: byte", "past its end", "write_past_the_end"});
}
#endif

__global__ void load_unaligned(const float* in, int shift) {
  load_global<Vector<float, 4>>(in + shift);
}

TEST(misaligned_vector_is_reported) {
  alignas(16) static const float in[8] = {};
  CNNKERN_LAUNCH(load_unaligned, 1, 1, 0, nullptr, in, 4);
  check_throws([&] { CNNKERN_LAUNCH(load_unaligned, 1, 1, 0, nullptr, in, 1); },
               {"misaligned access to global memory: 16 bytes at"});
}

__global__ void load_shared_unaligned() {
  CNNKERN_SHARED(Tile, shared);
  load_shared<Vector<float, 2>>(&shared.value[3]);
}

TEST(misaligned_shared_vector_is_reported) {
  check_throws([] { CNNKERN_LAUNCH(load_shared_unaligned, 1, 1, sizeof(Tile), nullptr); },
               {"misaligned access to shared memory: 8 bytes at offset 12"});
}

__global__ void confuse_spaces() {
  CNNKERN_SHARED(Tile, shared);
  store_global(&shared.value[0], 1.0f);
}

TEST(shared_memory_through_a_global_access_is_reported) {
  check_throws([] { CNNKERN_LAUNCH(confuse_spaces, 1, 1, sizeof(Tile), nullptr); },
               {"shared memory was accessed as global memory"});
}

TEST(too_little_shared_memory_is_reported) {
  check_throws([] { CNNKERN_LAUNCH(read_shared, 1, 1, 128, nullptr, nullptr); },
               {"SharedStorage has 256 bytes, but the launch gives 128"});
}

TEST(impossible_launches_are_refused) {
  check_throws([] { CNNKERN_LAUNCH(exit_past_barrier, 1, 1025, 0, nullptr); }, {"1025 threads"});
  check_throws([] { CNNKERN_LAUNCH(exit_past_barrier, dim3(1, 65536), 1, 0, nullptr); },
               {"grid larger than"});
  check_throws([] { CNNKERN_LAUNCH(exit_past_barrier, 0, 1, 0, nullptr); }, {"empty grid"});
}

__global__ void fail_in_some_blocks() {
  if (blockIdx.x % 3 == 1) store_at(64);
  __syncthreads();
}

TEST(the_same_failure_is_reported_whatever_the_number_of_os_threads) {
  const auto report = [](int threads) -> std::string {
    emulator::set_threads(threads);
    emulator::set_seed(5);
    try {
      CNNKERN_LAUNCH(fail_in_some_blocks, 50, 32, sizeof(Tile), nullptr);
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "nothing";
  };
  const std::string first = report(1);
  CHECK(first.find("out of the bounds") != std::string::npos);
  for (int repeat = 0; repeat < 5; ++repeat) CHECK(report(4) == first);
}

struct CountedObject {
  int* alive;
  explicit CountedObject(int* count) : alive(count) { ++*alive; }
  ~CountedObject() { --*alive; }
};

__global__ void hold_an_object(int* alive) {
  const CountedObject object(alive);
  if (threadIdx.x > 0) __syncthreads();
}

TEST(threads_of_a_failed_block_are_unwound) {
  int alive = 0;
  check_throws([&] { CNNKERN_LAUNCH(hold_an_object, 1, 64, 0, nullptr, &alive); }, {"exited"});
  CHECK(alive == 0);
  std::vector<int> out(64);
  CNNKERN_LAUNCH(many_barriers, 1, 64, sizeof(Tile), nullptr, out.data(), 64);
  for (int i = 0; i < 64; ++i) CHECK(out[i] == i);
}

}  // namespace
}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
