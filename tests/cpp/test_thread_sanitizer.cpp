// Kernels for ThreadSanitizer, which sees what goes around the primitives. Each pair differs in one
// synchronisation; tests/test_sanitizers.py expects a report of the one and silence of the other.
#include <vector>

#include "check.h"
#include "cuda/primitives/cp_async.cuh"
#include "cuda/primitives/ldst.cuh"
#include "cuda/primitives/shared.cuh"
#include "cuda/primitives/warp.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

struct Line {
  alignas(16) float value[64];
};

#define LAUNCH(kernel, blocks, threads, ...) \
  CNNKERN_LAUNCH(kernel, blocks, threads, sizeof(Line), nullptr __VA_OPT__(, ) __VA_ARGS__)

template <bool barrier>
__global__ void reverse(float* data) {
  CNNKERN_SHARED(Line, shared);
  const int i = threadIdx.x;
  for (int round = 0; round < 3; ++round) {
    shared.value[i] = data[64 * blockIdx.x + i];
    __syncthreads();
    data[64 * blockIdx.x + i] = shared.value[63 - i];
    if constexpr (barrier) __syncthreads();
  }
}

template <bool barrier>
void run_reverse() {
  std::vector<float> data(4 * 64);
  for (int i = 0; i < 4 * 64; ++i) data[i] = static_cast<float>(i);
  for (int launch = 0; launch < 2; ++launch) LAUNCH((reverse<barrier>), 4, 64, data.data());
  for (int i = 0; i < 4 * 64; ++i) CHECK(!barrier || data[i] == static_cast<float>(i));
}

TEST(silent_with_both_barriers) { run_reverse<true>(); }
TEST(race_without_the_second_barrier) { run_reverse<false>(); }

enum class Between { sync, shuffle };

template <Between between>
__global__ void within_a_warp() {
  CNNKERN_SHARED(Line, shared);
  const int lane = lane_index();
  for (int round = 0; round < 3; ++round) {
    shared.value[lane] = 1.0f;
    if constexpr (between == Between::sync) sync_warp(full_warp);
    else shuffle_xor(full_warp, 1.0f, 16);
    volatile float other = shared.value[lane ^ 1];
    static_cast<void>(other);
    if constexpr (between == Between::sync) sync_warp(full_warp);
  }
}

TEST(silent_with_sync_warp) { LAUNCH((within_a_warp<Between::sync>), 2, 32); }
TEST(race_with_a_shuffle_for_a_sync_warp) { LAUNCH((within_a_warp<Between::shuffle>), 2, 32); }

template <bool barrier>
__global__ void read_the_copy_of_another(const float* in) {
  CNNKERN_SHARED(Line, shared);
  const int i = threadIdx.x;
  cp_async_4(&shared.value[i], in + i, true);
  cp_async_commit();
  cp_async_wait<0>();
  if constexpr (barrier) __syncthreads();
  volatile float other = shared.value[63 - i];
  static_cast<void>(other);
}

const float zeros[64] = {};

TEST(silent_with_a_barrier_after_the_wait) {
  LAUNCH((read_the_copy_of_another<true>), 2, 64, zeros);
}
TEST(race_without_a_barrier_after_the_wait) {
  LAUNCH((read_the_copy_of_another<false>), 2, 64, zeros);
}

__global__ void write_by_block(float* out, int apart) {
  if (threadIdx.x == 0) out[blockIdx.x * apart] = 1.0f;
}

TEST(silent_when_blocks_write_apart) {
  std::vector<float> out(8);
  LAUNCH(write_by_block, 8, 32, out.data(), 1);
  LAUNCH(write_by_block, 8, 32, out.data(), 1);
}
TEST(race_when_blocks_write_the_same) {
  float out = 0;
  LAUNCH(write_by_block, 8, 32, &out, 0);
}

}  // namespace
}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
