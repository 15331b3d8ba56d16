// The emulator's twins of csrc/cuda/primitives: each does what the PTX ISA says, and says when a
// kernel uses it in a way that the hardware leaves undefined.
#include <cmath>
#include <numeric>
#include <vector>

#include "check.h"
#include "common/dtype.h"
#include "cuda/primitives/ldst.cuh"
#include "cuda/primitives/shared.cuh"
#include "cuda/primitives/warp.cuh"
#include "emulator/launch.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

using testing::check_throws;

// --- Warp collectives ------------------------------------------------------------------------

enum class Mode { index, down, up, exclusive_or };

template <class T>
__global__ void shuffle_all(Mode mode, int argument, T* out) {
  const int lane = lane_index();
  const T own = T(100 * warp_index() + lane);
  T got = own;
  if (mode == Mode::index) got = shuffle(full_warp, own, argument);
  if (mode == Mode::down) got = shuffle_down(full_warp, own, argument);
  if (mode == Mode::up) got = shuffle_up(full_warp, own, argument);
  if (mode == Mode::exclusive_or) got = shuffle_xor(full_warp, own, argument);
  store_global(out + threadIdx.x, got);
}

template <class T>
void check_shuffles() {
  for (int argument = 0; argument < 32; ++argument)
    for (const Mode mode : {Mode::index, Mode::down, Mode::up, Mode::exclusive_or}) {
      std::vector<T> out(96);
      emulator::set_seed(static_cast<uint64_t>(argument));
      CNNKERN_LAUNCH((shuffle_all<T>), 1, 96, 0, nullptr, mode, argument, out.data());
      for (int i = 0; i < 96; ++i) {
        const int lane = i % 32;
        int source = argument;
        if (mode == Mode::down) source = lane + argument < 32 ? lane + argument : lane;
        if (mode == Mode::up) source = lane - argument >= 0 ? lane - argument : lane;
        if (mode == Mode::exclusive_or) source = lane ^ argument;
        CHECK(out[i] == T(100 * (i / 32) + source));
      }
    }
}

TEST(shuffles_of_int) { check_shuffles<int>(); }
TEST(shuffles_of_float) { check_shuffles<float>(); }
TEST(shuffles_of_double) { check_shuffles<double>(); }

__global__ void repeated_shuffles(int* out) {
  int value = lane_index();
  for (int i = 0; i < 64; ++i) value = shuffle(full_warp, value, (lane_index() + 1) % 32);
  store_global(out + threadIdx.x, value);
}

TEST(shuffles_in_a_loop_do_not_overtake_each_other) {
  for (uint64_t seed = 0; seed < 10; ++seed) {
    emulator::set_seed(seed);
    std::vector<int> out(64);
    CNNKERN_LAUNCH(repeated_shuffles, 1, 64, 0, nullptr, out.data());
    for (int i = 0; i < 64; ++i) CHECK(out[i] == i % 32);
  }
}

__global__ void sum_warps(float* out) {
  store_global(out + threadIdx.x, warp_sum(full_warp, static_cast<float>(threadIdx.x)));
}

TEST(warp_sum_is_the_same_in_every_lane) {
  std::vector<float> out(64);
  CNNKERN_LAUNCH(sum_warps, 1, 64, 0, nullptr, out.data());
  for (int i = 0; i < 64; ++i) CHECK(out[i] == (i < 32 ? 496.0f : 1520.0f));
}

__global__ void vote(unsigned* out) {
  store_global(out + threadIdx.x, ballot(full_warp, lane_index() % 3 == 0));
}

TEST(ballot_collects_one_bit_a_lane) {
  std::vector<unsigned> out(32);
  CNNKERN_LAUNCH(vote, 1, 32, 0, nullptr, out.data());
  for (const unsigned votes : out) CHECK(votes == 0x49249249u);
}

__global__ void vote_any_all(int threshold, int* out) {
  const bool low = lane_index() < threshold;
  store_global(out + lane_index(), any(full_warp, low) + 2 * all(full_warp, low));
}

TEST(any_and_all_are_the_same_in_every_lane) {
  for (const int threshold : {0, 1, 31, 32}) {
    std::vector<int> out(32);
    CNNKERN_LAUNCH(vote_any_all, 1, 32, 0, nullptr, threshold, out.data());
    for (const int votes : out) CHECK(votes == (threshold > 0) + 2 * (threshold == 32));
  }
}

__global__ void all_of_some_lanes(int* out) {
  if (lane_index() < 8) store_global(out, static_cast<int>(all(0xffu, true)));
}

TEST(all_asks_the_lanes_of_the_mask_alone) {
  int out = 0;
  CNNKERN_LAUNCH(all_of_some_lanes, 1, 32, 0, nullptr, &out);
  CHECK(out == 1);
}

__global__ void largest_of_warp(const float* in, float* out) {
  const int i = threadIdx.x;
  store_global(out + i, warp_max(full_warp, load_global<float>(in + i)));
}

TEST(warp_max_is_the_same_in_every_lane_and_keeps_nan) {
  for (int lane = 0; lane < 32; ++lane) {
    std::vector<float> in(64, -3.0f), out(64);
    in[lane] = 7.0f, in[32 + lane] = NAN;
    CNNKERN_LAUNCH(largest_of_warp, 1, 64, 0, nullptr, in.data(), out.data());
    for (int i = 0; i < 64; ++i) CHECK(i < 32 ? out[i] == 7.0f : std::isnan(out[i]));
  }
}

__global__ void sums_at_two_places() {
  if (lane_index() < 16) warp_sum(full_warp, 1.0f);
  else warp_sum(full_warp, 1.0f);
}

TEST(a_reduction_is_reported_at_the_line_of_its_caller) {
  check_throws([] { CNNKERN_LAUNCH(sums_at_two_places, 1, 32, 0, nullptr); },
               {"warp mismatch", "test_primitives.cpp:"});
}

// Even and odd lanes, each by themselves, different things at the same time.
__global__ void partial_masks(unsigned* out) {
  const int lane = lane_index();
  if (lane % 2 == 0) store_global(out + lane, ballot(0x55555555u, lane < 16));
  else store_global(out + lane, shuffle_xor(0xaaaaaaaau, static_cast<unsigned>(lane), 2));
}

TEST(partial_masks_are_independent) {
  for (uint64_t seed = 0; seed < 10; ++seed) {
    emulator::set_seed(seed);
    std::vector<unsigned> out(32);
    CNNKERN_LAUNCH(partial_masks, 1, 32, 0, nullptr, out.data());
    for (unsigned i = 0; i < 32; ++i) CHECK(out[i] == (i % 2 == 0 ? 0x5555u : (i ^ 2)));
  }
}

__global__ void read_outside_the_mask(float* out) {
  if (lane_index() < 16) store_global(out + lane_index(), shuffle_down(0xffffu, 1.0f, 8));
}

TEST(a_lane_outside_the_mask_reads_as_nan) {
  std::vector<float> out(16);
  CNNKERN_LAUNCH(read_outside_the_mask, 1, 32, 0, nullptr, out.data());
  for (int i = 0; i < 16; ++i) CHECK(i < 8 ? out[i] == 1.0f : std::isnan(out[i]));
}

__global__ void warp_exchange(int* out, bool sync) {
  struct Storage {
    int value[32];
  };
  CNNKERN_SHARED(Storage, shared);
  const int lane = lane_index();
  store_shared(&shared.value[lane], lane);
  if (sync) sync_warp(full_warp);
  store_global(out + lane, load_shared<int>(&shared.value[31 - lane]));
}

TEST(without_sync_warp_there_is_no_implicit_synchrony) {
  std::vector<int> out(32);
  int wrong = 0;
  CNNKERN_LAUNCH(warp_exchange, 1, 32, 128, nullptr, out.data(), true);
  for (int i = 0; i < 32; ++i) CHECK(out[i] == 31 - i);
  CNNKERN_LAUNCH(warp_exchange, 1, 32, 128, nullptr, out.data(), false);
  for (int i = 0; i < 32; ++i) wrong += out[i] != 31 - i;
  CHECK(wrong > 0);
}

__global__ void different_opcodes() {
  if (lane_index() < 7) ballot(full_warp, true);
  else shuffle(full_warp, 1, 0);
}

TEST(different_collectives_in_one_warp_are_reported) {
  check_throws([] { CNNKERN_LAUNCH(different_opcodes, 1, 32, 0, nullptr); },
               {"warp mismatch", "ballot", "shuffle", "test_primitives.cpp:"});
}

__global__ void different_sites() {
  if (lane_index() < 7) sync_warp(full_warp);
  else sync_warp(full_warp);
}

TEST(the_same_collective_at_different_places_is_reported) {
  check_throws([] { CNNKERN_LAUNCH(different_sites, 1, 32, 0, nullptr); }, {"warp mismatch"});
}

__global__ void lanes_missing() {
  if (lane_index() < 20) sync_warp(full_warp);
}

TEST(a_lane_that_never_comes_is_reported) {
  for (uint64_t seed = 0; seed < 5; ++seed) {  // it may exit before or after the others wait
    emulator::set_seed(seed);
    check_throws([] { CNNKERN_LAUNCH(lanes_missing, 1, 32, 0, nullptr); }, {"sync_warp"});
  }
}

__global__ void not_in_the_mask() { sync_warp(0xffu); }

TEST(a_caller_outside_its_mask_is_reported) {
  check_throws([] { CNNKERN_LAUNCH(not_in_the_mask, 1, 32, 0, nullptr); },
               {"the mask does not name the calling lane"});
}

TEST(a_collective_in_a_two_dimensional_block_is_reported) {
  check_throws([] { CNNKERN_LAUNCH(lanes_missing, 1, dim3(16, 2), 0, nullptr); },
               {"one-dimensional blocks"});
}

TEST(a_mask_with_lanes_that_do_not_exist_is_reported) {
  check_throws([] { CNNKERN_LAUNCH(lanes_missing, 1, 20, 0, nullptr); },
               {"lanes that this warp does not have"});
}

// --- Loads and stores ------------------------------------------------------------------------

template <class V>
__global__ void copy(const void* in, void* out) {
  struct Storage {
    alignas(16) char bytes[16 * 64];
  };
  CNNKERN_SHARED(Storage, shared);
  char* slot = shared.bytes + sizeof(V) * threadIdx.x;
  const size_t at = sizeof(V) * threadIdx.x;
  const char* from = static_cast<const char*>(in) + at;
  store_shared(slot, threadIdx.x % 2 ? load_global<V>(from) : load_global_readonly<V>(from));
  store_global(static_cast<char*>(out) + at, load_shared<V>(slot));
}

template <class V>
void check_copy() {
  alignas(16) char in[16 * 64], out[16 * 64] = {};
  for (int i = 0; i < 16 * 64; ++i) in[i] = static_cast<char>(i * 7 + i / 256);
  CNNKERN_LAUNCH((copy<V>), 1, 64, sizeof(in), nullptr, in, out);
  for (size_t i = 0; i < sizeof(V) * 64; ++i) CHECK(out[i] == in[i]);
  for (size_t i = sizeof(V) * 64; i < sizeof(out); ++i) CHECK(out[i] == 0);
}

TEST(loads_and_stores_of_1_to_16_bytes) {
  check_copy<char>();
  check_copy<float16>();
  check_copy<float>();
  check_copy<Vector<float16, 4>>();
  check_copy<double>();
  check_copy<Vector<float, 4>>();
  check_copy<Vector<bfloat16, 8>>();
}

template <class V>
__global__ void copy_streaming(const void* in, void* out) {
  const size_t at = sizeof(V) * threadIdx.x;
  const auto value = load_global_streaming<V>(static_cast<const char*>(in) + at);
  store_global_streaming(static_cast<char*>(out) + at, value);
}

TEST(streaming_loads_and_stores) {
  alignas(16) char in[16 * 32], out[16 * 32] = {};
  std::iota(in, in + sizeof(in), 1);
  CNNKERN_LAUNCH((copy_streaming<Vector<float, 4>>), 1, 32, 0, nullptr, in, out);
  CHECK(std::memcmp(in, out, sizeof(in)) == 0);
  check_throws(
      [&] { CNNKERN_LAUNCH((copy_streaming<Vector<float, 4>>), 1, 1, 0, nullptr, in + 4, out); },
      {"misaligned access to global memory: 16 bytes", "test_primitives.cpp:"});
}

__global__ void load_some(const float* in, int valid, float* out) {
  const int i = threadIdx.x;
  store_global(out + i, load_global_or_zero<float>(in + i, i < valid));
}

TEST(a_load_that_is_not_valid_gives_zero_and_does_not_read) {
  const std::vector<float> in(8, 3.0f);  // AddressSanitizer watches its end
  std::vector<float> out(32, NAN);
  CNNKERN_LAUNCH(load_some, 1, 32, 0, nullptr, in.data(), 8, out.data());
  for (int i = 0; i < 32; ++i) CHECK(out[i] == (i < 8 ? 3.0f : 0.0f));
  CNNKERN_LAUNCH(load_some, 1, 32, 0, nullptr, nullptr, 0, out.data());
  for (const float value : out) CHECK(value == 0.0f);
  check_throws([&] { CNNKERN_LAUNCH(load_some, 1, 32, 0, nullptr, nullptr, 1, out.data()); },
               {"null pointer"});
}

}  // namespace
}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
