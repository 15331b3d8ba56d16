// The race table: each rule by a pair of kernels, one that keeps it and one that breaks it. A race
// is reported in whatever order the threads run, so a few seeds stand for all.
#include <algorithm>
#include <vector>

#include "check.h"
#include "cuda/primitives/cp_async.cuh"
#include "cuda/primitives/ldst.cuh"
#include "cuda/primitives/shared.cuh"
#include "cuda/primitives/warp.cuh"
#include "emulator/launch.h"
#include "emulator/race_table.h"
#include "guarded_buffer.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

using testing::check_throws;

class WithRaceCheck {
 public:
  WithRaceCheck() : before_(emulator::race_check()) { emulator::set_race_check(true); }
  ~WithRaceCheck() { emulator::set_race_check(before_); }

 private:
  bool before_;
};

constexpr uint64_t seeds = 6;

template <class Launch>
void check_silent(Launch&& launch) {
  const WithRaceCheck race_check;
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    emulator::set_seed(seed);
    launch();
  }
}

template <class Launch>
void check_race(Launch&& launch, std::vector<std::string> phrases = {}) {
  const WithRaceCheck race_check;
  phrases.insert(phrases.end(), {"test_races.cpp:", "CNNKERN_EMULATOR_SEED="});
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    emulator::set_seed(seed);
    check_throws(launch, phrases);
  }
}

struct Line {
  alignas(16) float value[64];
};

#define LAUNCH(kernel, blocks, threads, ...) \
  CNNKERN_LAUNCH(kernel, blocks, threads, sizeof(Line), nullptr __VA_OPT__(, ) __VA_ARGS__)

// --- __syncthreads -----------------------------------------------------------------------------

template <bool barrier>
__global__ void write_then_read() {
  CNNKERN_SHARED(Line, shared);
  const int i = threadIdx.x;
  store_shared(&shared.value[i], 1.0f);
  if constexpr (barrier) __syncthreads();
  load_shared<float>(&shared.value[(i + 32) % 64]);
}

TEST(a_write_and_a_read_need_a_barrier) {
  check_silent([] { LAUNCH((write_then_read<true>), 1, 64); });
  check_race([] { LAUNCH((write_then_read<false>), 1, 64); },
             {"race: a ", "are not ordered", " of shared memory", "no __syncthreads lies between",
              "the block has passed none so far"});
}

template <bool barrier>
__global__ void read_then_write() {
  CNNKERN_SHARED(Line, shared);
  const int i = threadIdx.x;
  store_shared(&shared.value[i], 1.0f);
  __syncthreads();
  load_shared<float>(&shared.value[(i + 32) % 64]);
  if constexpr (barrier) __syncthreads();
  store_shared(&shared.value[i], 2.0f);
}

TEST(a_read_and_a_write_need_a_second_barrier) {
  check_silent([] { LAUNCH((read_then_write<true>), 1, 64); });
  check_race([] { LAUNCH((read_then_write<false>), 1, 64); },
             {std::string("the last one both passed is ") + __FILE__ + ":"});
}

template <bool barrier>
__global__ void write_twice() {
  CNNKERN_SHARED(Line, shared);
  if (threadIdx.x == 3) store_shared(&shared.value[5], 1.0f);
  if constexpr (barrier) __syncthreads();
  if (threadIdx.x == 40) store_shared(&shared.value[5], 1.0f);
}

TEST(two_writes_of_the_same_value_need_a_barrier) {
  check_silent([] { LAUNCH((write_twice<true>), 1, 64); });
  check_race([] { LAUNCH((write_twice<false>), 1, 64); },
             {"a write and an earlier write are not ordered, both touch byte 20 of shared memory",
              "earlier write of bytes 20-23 of shared memory", "by thread (", "thread  ("});
}

__global__ void read_all() {
  CNNKERN_SHARED(Line, shared);
  for (int i = 0; i < 64; i += 4) load_shared<Vector<float, 4>>(&shared.value[i]);
}

TEST(reads_alone_are_no_race) {
  check_silent([] { LAUNCH(read_all, 3, 128); });
}

// The table leaves reads out that no later write needs. Whatever that write is, it must race with
// one of the kept reads if and only if it races with one of all.
TEST(the_reads_that_are_kept_stand_for_all) {
  RandomIntegers random(1);
  for (int trial = 0; trial < 20000; ++trial) {
    const int blocks = 1 + (trial & 1) + (trial >> 1 & 1), threads = trial & 4 ? 40 : 3;
    emulator::History byte;
    std::vector<emulator::AccessRecord> all;
    uint32_t epoch[3] = {};
    const auto any = [&] {
      emulator::AccessRecord access{};
      access.block = static_cast<uint64_t>(random(blocks) + blocks) % blocks;
      access.thread = static_cast<uint16_t>((random(threads) + threads) % threads);
      access.epoch = epoch[access.block];
      return access;
    };
    for (int reads = random(4) + 5; reads > 0; --reads) {
      all.push_back(any());
      byte.add_read(all.back());
      if (random(2) == 0) ++epoch[all.back().block];
    }
    const emulator::AccessRecord write = any();
    const unsigned known_lanes = static_cast<unsigned>(random(1 << 20));  // through sync_warps
    const auto races = [&](const emulator::AccessRecord& read) {
      if (read.block != write.block) return true;
      if (read.epoch != write.epoch || read.thread == write.thread) return false;
      return read.thread / 32 != write.thread / 32 || !(known_lanes >> read.thread % 32 & 1);
    };
    CHECK(std::any_of(all.begin(), all.end(), races) ==
          std::any_of(byte.reads.begin(), byte.reads.end(), races));
    CHECK(byte.reads.size() <= 32);
  }
}

// The reads of many threads are summed up; a later epoch must not forget its own.
template <bool barrier>
__global__ void all_read_one_writes() {
  CNNKERN_SHARED(Line, shared);
  for (int round = 0; round < 3; ++round) {
    load_shared<float>(&shared.value[0]);
    if (round == 1 && threadIdx.x == 95) load_shared<float>(&shared.value[0]);
    if (barrier || round < 2) __syncthreads();
  }
  if (threadIdx.x == 95) store_shared(&shared.value[0], 1.0f);
}

TEST(every_reader_of_an_epoch_counts) {
  check_silent([] { LAUNCH((all_read_one_writes<true>), 1, 128); });
  check_race([] { LAUNCH((all_read_one_writes<false>), 1, 128); });
}

__global__ void neighbouring_bytes() {
  CNNKERN_SHARED(Line, shared);
  auto* bytes = reinterpret_cast<unsigned char*>(shared.value);
  const unsigned char own = static_cast<unsigned char>(threadIdx.x);
  store_shared(bytes + threadIdx.x, own);
  load_shared<unsigned char>(bytes + threadIdx.x);
}

__global__ void overlapping_bytes() {
  CNNKERN_SHARED(Line, shared);
  if (threadIdx.x == 7) store_shared(reinterpret_cast<char*>(shared.value) + 7, 'a');
  if (threadIdx.x == 1) load_shared<float>(&shared.value[1]);
}

TEST(bytes_side_by_side_are_no_race) {
  check_silent([] { LAUNCH(neighbouring_bytes, 1, 256); });
  check_race([] { LAUNCH(overlapping_bytes, 1, 32); },
             {"byte 7 of shared memory", "bytes 4-7 of shared memory"});
}

template <int byte, bool store>
__global__ void a_byte_and_a_vector() {
  CNNKERN_SHARED(Line, shared);
  using Four = Vector<float, 4>;
  if (threadIdx.x == 40) store_shared(reinterpret_cast<char*>(shared.value) + byte, 'a');
  if (threadIdx.x == 3 && store) store_shared(&shared.value[4], Four{});
  if (threadIdx.x == 3 && !store) load_shared<Four>(&shared.value[4]);
  __syncthreads();
  // In the same word other bytes still have a history of their own.
  if (threadIdx.x == 41) store_shared(reinterpret_cast<char*>(shared.value) + (byte ^ 1), 'b');
  if (threadIdx.x == 50) store_shared(reinterpret_cast<char*>(shared.value) + (byte ^ 2), 'c');
}

TEST(a_byte_meets_the_vector_that_it_lies_in) {
  check_silent([] { LAUNCH((a_byte_and_a_vector<33, true>), 1, 64); });
  check_silent([] { LAUNCH((a_byte_and_a_vector<14, false>), 1, 64); });
  for (const auto launch : {+[] { LAUNCH((a_byte_and_a_vector<22, true>), 1, 64); },
                            +[] { LAUNCH((a_byte_and_a_vector<22, false>), 1, 64); }})
    check_race(launch, {"byte 22 of shared memory", "bytes 16-31 of shared memory"});
}

// --- Warps ---------------------------------------------------------------------------------------

enum class Between { nothing, sync, shuffles, votes };

template <Between between>
__global__ void reverse_in_a_warp(unsigned mask) {
  CNNKERN_SHARED(Line, shared);
  const int lane = lane_index();
  if (!(mask >> lane & 1)) return;
  store_shared(&shared.value[lane], 1.0f);
  if constexpr (between == Between::sync) sync_warp(mask);
  if constexpr (between == Between::shuffles)
    for (int distance = 1; distance < 32; distance *= 2) shuffle_xor(mask, 1.0f, distance);
  if constexpr (between == Between::votes) ballot(mask, true);
  load_shared<float>(&shared.value[lane ^ 1]);
}

TEST(a_warp_is_not_in_step_by_itself) {
  check_silent([] { LAUNCH((reverse_in_a_warp<Between::sync>), 1, 32, full_warp); });
  check_race([] { LAUNCH((reverse_in_a_warp<Between::nothing>), 1, 32, full_warp); },
             {"no __syncthreads lies between them", "no sync_warp joins the two lanes"});
}

TEST(a_partial_mask_orders_its_lanes) {
  check_silent([] { LAUNCH((reverse_in_a_warp<Between::sync>), 1, 32, 0x00ff0fc3u); });
}

TEST(shuffles_and_votes_do_not_order_memory) {
  check_race([] { LAUNCH((reverse_in_a_warp<Between::shuffles>), 1, 32, full_warp); });
  check_race([] { LAUNCH((reverse_in_a_warp<Between::votes>), 1, 32, full_warp); });
}

// Lane 0 writes, lane 2 reads; they meet only through lane 1, or not at all.
template <bool chain>
__global__ void through_a_third_lane() {
  CNNKERN_SHARED(Line, shared);
  const int lane = lane_index();
  if (lane == 0) store_shared(&shared.value[0], 1.0f);
  if (lane == 0 || (chain && lane == 1)) sync_warp(chain ? 0b011u : 0b001u);
  if (lane == 1 || lane == 2) sync_warp(0b110u);
  if (lane == 2) load_shared<float>(&shared.value[0]);
}

TEST(sync_warps_order_through_a_chain_of_lanes) {
  check_silent([] { LAUNCH((through_a_third_lane<true>), 1, 32); });
  check_race([] { LAUNCH((through_a_third_lane<false>), 1, 32); });
}

// What a lane does after a sync_warp is not ordered by it.
__global__ void write_after_the_sync() {
  CNNKERN_SHARED(Line, shared);
  sync_warp(full_warp);
  if (lane_index() == 0) store_shared(&shared.value[0], 1.0f);
  if (lane_index() == 9) load_shared<float>(&shared.value[0]);
}

TEST(an_earlier_sync_warp_does_not_order) {
  check_race([] { LAUNCH(write_after_the_sync, 1, 32); });
}

// Lanes 3 and 4 read; only lane 4 is ordered before the write of lane 5.
__global__ void one_reader_is_not_ordered() {
  CNNKERN_SHARED(Line, shared);
  const int lane = lane_index();
  if (lane == 3 || lane == 4) load_shared<float>(&shared.value[0]);
  if (lane == 4 || lane == 5) sync_warp(0x30u);
  if (lane == 5) store_shared(&shared.value[0], 1.0f);
}

TEST(each_reading_lane_must_be_ordered) {
  check_race([] { LAUNCH(one_reader_is_not_ordered, 1, 32); }, {"lane 3", "lane 5"});
}

__global__ void sync_warp_in_two_warps() {
  CNNKERN_SHARED(Line, shared);
  if (threadIdx.x == 0) store_shared(&shared.value[0], 1.0f);
  sync_warp(full_warp);
  if (threadIdx.x == 32) load_shared<float>(&shared.value[0]);
}

TEST(sync_warp_does_not_order_two_warps) {
  check_race([] { LAUNCH(sync_warp_in_two_warps, 1, 64); });
}

// --- cp.async ------------------------------------------------------------------------------------

template <bool wait, bool own>
__global__ void read_a_copy(const float* in) {
  CNNKERN_SHARED(Line, shared);
  const int i = threadIdx.x;
  cp_async_4(&shared.value[i], in + i, true);
  cp_async_commit();
  if constexpr (wait) cp_async_wait<0>();
  __syncthreads();
  load_shared<float>(&shared.value[own ? i : 63 - i]);
  cp_async_wait<0>();
}

const float zeros[256] = {};

TEST(a_copy_may_be_read_only_after_its_wait) {
  const std::vector<std::string> report = {
      "read of bytes that a cp.async, issued at",
      "test_races.cpp:", "has not delivered: a wait_group is missing"};
  check_silent([] { LAUNCH((read_a_copy<true, true>), 1, 64, zeros); });
  check_silent([] { LAUNCH((read_a_copy<true, false>), 1, 64, zeros); });
  check_race([] { LAUNCH((read_a_copy<false, true>), 1, 64, zeros); }, report);
  check_race([] { LAUNCH((read_a_copy<false, false>), 1, 64, zeros); }, report);
}

template <bool barrier>
__global__ void read_the_copy_of_another() {
  CNNKERN_SHARED(Line, shared);
  const int i = threadIdx.x;
  cp_async_4(&shared.value[i], nullptr, false);
  cp_async_commit();
  cp_async_wait<0>();
  if constexpr (barrier) __syncthreads();
  load_shared<float>(&shared.value[i]);
  if (i == 0) load_shared<float>(&shared.value[40]);
}

TEST(the_wait_orders_only_for_its_own_thread) {
  check_silent([] { LAUNCH((read_the_copy_of_another<true>), 1, 64); });
  check_race([] { LAUNCH((read_the_copy_of_another<false>), 1, 64); },
             {"cp.async", "bytes 160-163 of shared memory"});
}

// The classic: a stage is filled anew while others still read the tile before.
template <bool barrier>
__global__ void refill(const float* in) {
  CNNKERN_SHARED(Line, shared);
  const int i = threadIdx.x;
  for (int tile = 0; tile < 4; ++tile) {
    cp_async_4(&shared.value[i], in + 64 * tile + i, true);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    load_shared<float>(&shared.value[(i + 32) % 64]);
    if constexpr (barrier) __syncthreads();
  }
}

TEST(a_buffer_is_refilled_only_after_a_barrier) {
  check_silent([] { LAUNCH((refill<true>), 1, 64, zeros); });
  check_race([] { LAUNCH((refill<false>), 1, 64, zeros); });
}

template <bool wait>
__global__ void write_over_a_copy(const float* in) {
  CNNKERN_SHARED(Line, shared);
  cp_async_4(&shared.value[0], in, true);
  cp_async_commit();
  if constexpr (wait) cp_async_wait<0>();
  store_shared(&shared.value[0], 1.0f);
  cp_async_wait<0>();
}

TEST(nothing_is_written_over_a_copy_under_way) {
  check_silent([] { LAUNCH((write_over_a_copy<true>), 1, 1, zeros); });
  check_race([] { LAUNCH((write_over_a_copy<false>), 1, 1, zeros); },
             {"write of bytes that a cp.async", "bytes 0-3 of shared memory", "issued  by thread"});
}

// --- Global memory -------------------------------------------------------------------------------

__global__ void each_block_writes(float* out, int blocks_apart) {
  store_global(out + blockIdx.x * blocks_apart, 1.0f);
}

TEST(blocks_must_not_write_the_same_bytes) {
  std::vector<float> out(8);
  check_silent([&] { LAUNCH(each_block_writes, 8, 1, out.data(), 1); });
  check_race(
      [&] { LAUNCH(each_block_writes, 8, 1, out.data(), 0); },
      {"a write and an earlier write", "by block (", "blocks of one launch are not ordered"});
}

// Whatever order the blocks run in, and whether the writer has read before.
__global__ void one_block_writes(float* data, unsigned writer) {
  load_global<float>(data);
  __syncthreads();
  if (blockIdx.x == writer && threadIdx.x == 0) store_global(data, 1.0f);
}

TEST(a_block_must_not_write_what_others_read) {
  float value = 0;
  check_silent([&] { LAUNCH(one_block_writes, 16, 2, &value, 99u); });
  check_silent([&] { LAUNCH(one_block_writes, 1, 64, &value, 0u); });
  for (unsigned writer = 0; writer < 5; ++writer)
    check_race([&] { LAUNCH(one_block_writes, 5, 2, &value, writer); },
               {"blocks of one launch are not ordered"});
}

template <bool barrier>
__global__ void exchange_through_global(float* data) {
  const int i = blockIdx.x * 64 + threadIdx.x;
  store_global(data + i, 1.0f);
  if constexpr (barrier) __syncthreads();
  load_global<float>(data + (i ^ 32));
}

TEST(a_barrier_orders_global_memory_within_a_block) {
  std::vector<float> data(20 * 64);
  check_silent([&] { LAUNCH((exchange_through_global<true>), 20, 64, data.data()); });
  check_race([&] { LAUNCH((exchange_through_global<false>), 20, 64, data.data()); },
             {"no __syncthreads lies between them"});
}

TEST(a_race_is_found_on_several_os_threads) {
  emulator::set_threads(4);
  float value = 0;
  std::vector<float> out(64);
  check_race([&] { LAUNCH(one_block_writes, 64, 2, &value, 13u); });
  check_silent([&] { LAUNCH(each_block_writes, 64, 1, out.data(), 1); });
  emulator::set_threads(1);
}

TEST(launches_are_ordered) {
  float value = 0;
  check_silent([&] {
    LAUNCH(each_block_writes, 1, 1, &value, 0);
    LAUNCH(one_block_writes, 1, 32, &value, 0u);
  });
}

// With CNNKERN_EMULATOR_RACES=1 this one fails, as tests/test_emulator.py expects.
TEST(without_the_switch_nothing_is_checked) { LAUNCH((write_twice<false>), 1, 64); }

}  // namespace
}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
