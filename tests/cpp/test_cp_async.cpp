// cp.async and its twin: visible after the wait and not before, zero-filled, never forgotten.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "check.h"
#include "cuda/primitives/cp_async.cuh"
#include "cuda/primitives/ldst.cuh"
#include "cuda/primitives/shared.cuh"
#include "cuda/primitives/warp.cuh"
#include "emulator/launch.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

using testing::check_throws;

struct Stages {
  alignas(16) float value[3][32][4];
};

__global__ void copy_async(const float* in, float* out, bool wait, bool commit, int valid) {
  CNNKERN_SHARED(Stages, shared);
  const int i = threadIdx.x;
  cp_async_16(shared.value[0][i], in + 4 * i, i < valid);
  if (commit) cp_async_commit();
  if (wait) cp_async_wait<0>();
  __syncthreads();
  store_global(out + i, load_shared<Vector<float, 4>>(shared.value[0][31 - i])[1]);
  __syncthreads();
  cp_async_commit();
  cp_async_wait<0>();
}

struct AsyncData {
  alignas(16) float in[128];
  std::vector<float> out = std::vector<float>(32);
  AsyncData() { std::iota(in, in + 128, 1.0f); }
};

TEST(cp_async_is_visible_after_the_wait) {
  AsyncData data;
  CNNKERN_LAUNCH(copy_async, 1, 32, sizeof(Stages), nullptr, data.in, data.out.data(), true, true,
                 32);
  for (int i = 0; i < 32; ++i) CHECK(data.out[i] == data.in[4 * (31 - i) + 1]);
}

TEST(cp_async_is_not_visible_without_the_wait) {
  AsyncData data;
  CNNKERN_LAUNCH(copy_async, 1, 32, sizeof(Stages), nullptr, data.in, data.out.data(), false, true,
                 32);
  for (const float value : data.out) CHECK(std::isnan(value));
}

TEST(cp_async_wait_ignores_copies_that_were_not_committed) {
  AsyncData data;
  CNNKERN_LAUNCH(copy_async, 1, 32, sizeof(Stages), nullptr, data.in, data.out.data(), true, false,
                 32);
  for (const float value : data.out) CHECK(std::isnan(value));
}

TEST(cp_async_fills_with_zeros_and_does_not_read) {
  AsyncData data;
  // Lanes from 8 on would read past the end of this buffer, which AddressSanitizer watches.
  struct alignas(16) Four {
    float value[4];
  };
  const std::vector<Four> small(8, Four{{1, 2, 3, 4}});
  CNNKERN_LAUNCH(copy_async, 1, 32, sizeof(Stages), nullptr, small.front().value, data.out.data(),
                 true, true, 8);
  for (int i = 0; i < 32; ++i) CHECK(data.out[i] == (31 - i < 8 ? 2.0f : 0.0f));
}

__global__ void three_groups(const float* in, float* out) {
  CNNKERN_SHARED(Stages, shared);
  const int i = threadIdx.x;
  for (int stage = 0; stage < 3; ++stage) {
    for (int j = 0; j < 4; ++j) cp_async_4(&shared.value[stage][i][j], in + 4 * i + j, true);
    cp_async_commit();
  }
  const auto arrived = [&](int stage) {
    return std::isnan(load_shared<float>(&shared.value[stage][i][3])) ? 0.0f : 1.0f;
  };
  const auto state = [&] { return arrived(0) + 10 * arrived(1) + 100 * arrived(2); };
  store_global(out + 4 * i, state());
  cp_async_wait<2>();
  store_global(out + 4 * i + 1, state());
  cp_async_wait<1>();
  store_global(out + 4 * i + 2, state());
  cp_async_wait<0>();
  store_global(out + 4 * i + 3, state());
}

TEST(cp_async_wait_leaves_the_newest_groups_pending) {
  AsyncData data;
  std::vector<float> out(128);
  CNNKERN_LAUNCH(three_groups, 1, 32, sizeof(Stages), nullptr, data.in, out.data());
  for (int i = 0; i < 32; ++i) {
    CHECK(out[4 * i] == 0.0f && out[4 * i + 1] == 1.0f);
    CHECK(out[4 * i + 2] == 11.0f && out[4 * i + 3] == 111.0f);
  }
}

__global__ void overwrite(const float* in, float* out) {
  CNNKERN_SHARED(Stages, shared);
  const int i = threadIdx.x;
  float* slot = &shared.value[0][i][0];
  store_shared(slot, 5.0f);
  cp_async_16(slot, in + 4 * i, true);
  store_global(out + 2 * i, load_shared<float>(slot));
  cp_async_commit();
  cp_async_wait<0>();
  store_global(out + 2 * i + 1, load_shared<float>(slot));
}

TEST(cp_async_destroys_what_its_destination_held_at_issue) {
  AsyncData data;
  std::vector<float> out(64);
  CNNKERN_LAUNCH(overwrite, 1, 32, sizeof(Stages), nullptr, data.in, out.data());
  for (int i = 0; i < 32; ++i) CHECK(std::isnan(out[2 * i]) && out[2 * i + 1] == data.in[4 * i]);
}

// Each thread comes by twice, with one call in between at which it may give way to others.
enum class Call { nothing, issue, commit, wait, sync };

__global__ void record_around(Call call, std::vector<int>* order) {
  CNNKERN_SHARED(Stages, shared);
  const int i = threadIdx.x;
  if (call == Call::wait) cp_async_4(&shared.value[0][i][0], nullptr, false), cp_async_commit();
  order->push_back(i);
  if (call == Call::issue) cp_async_4(&shared.value[0][i][0], nullptr, false);
  if (call == Call::commit) cp_async_commit();
  if (call == Call::wait) cp_async_wait<0>();
  if (call == Call::sync) sync_warp(1u << i);
  order->push_back(i);
  cp_async_commit();
  cp_async_wait<0>();
}

TEST(threads_give_way_at_async_copies_and_sync_warp) {
  for (const Call call : {Call::nothing, Call::issue, Call::commit, Call::wait, Call::sync}) {
    int gave_way = 0;
    for (uint64_t seed = 0; seed < 8; ++seed) {
      std::vector<int> order, again;
      for (std::vector<int>* each : {&order, &again}) {
        emulator::set_seed(seed);
        CNNKERN_LAUNCH(record_around, 1, 32, sizeof(Stages), nullptr, call, each);
      }
      CHECK(order == again);
      for (size_t at = 0; at + 1 < order.size(); ++at)
        if (std::find(order.begin(), order.begin() + at, order[at]) == order.begin() + at)
          gave_way += order[at + 1] != order[at];
    }
    CHECK((gave_way > 0) == (call != Call::nothing));
  }
}

__global__ void never_wait(const float* in) {
  CNNKERN_SHARED(Stages, shared);
  cp_async_16(shared.value[0][threadIdx.x], in, true);
  cp_async_commit();
}

TEST(a_copy_that_nobody_waits_for_is_reported) {
  AsyncData data;
  check_throws([&] { CNNKERN_LAUNCH(never_wait, 1, 32, sizeof(Stages), nullptr, data.in); },
               {"cp.async", "without waiting", "test_cp_async.cpp:", "never_wait"});
}

__global__ void copy_from(const float* in) {
  CNNKERN_SHARED(Stages, shared);
  cp_async_16(shared.value[0][0], in, true);
  cp_async_commit();
  cp_async_wait<0>();
}

__global__ void change_the_source(float* in, bool wait) {
  CNNKERN_SHARED(Stages, shared);
  cp_async_4(shared.value[0][0], in, true);
  cp_async_commit();
  if (wait) cp_async_wait<0>();
  store_global(in, load_global<float>(in) + 1);
  cp_async_wait<0>();
}

TEST(the_source_of_a_copy_must_not_change_before_the_wait) {
  float in = 0;
  CNNKERN_LAUNCH(change_the_source, 1, 1, sizeof(Stages), nullptr, &in, true);
  check_throws(
      [&] { CNNKERN_LAUNCH(change_the_source, 1, 1, sizeof(Stages), nullptr, &in, false); },
      {"cp.async: its source has changed while the copy was under way", "test_cp_async.cpp:"});
}

TEST(cp_async_checks_both_addresses) {
  AsyncData data;
  check_throws([&] { CNNKERN_LAUNCH(copy_from, 1, 1, sizeof(Stages), nullptr, data.in + 1); },
               {"misaligned access to global memory: 16 bytes"});
  check_throws([&] { CNNKERN_LAUNCH(copy_from, 1, 1, sizeof(Stages), nullptr, nullptr); },
               {"null pointer"});
}

}  // namespace
}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
