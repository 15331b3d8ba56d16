// Registered tensors: a launch may touch them and nothing else, and reports call them by name.
#include "emulator/tensors.h"

#include <vector>

#include "check.h"
#include "cuda/primitives/cp_async.cuh"
#include "cuda/primitives/ldst.cuh"
#include "cuda/primitives/shared.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

using emulator::Tensor;
using emulator::TensorScope;
using testing::check_throws;

// What is registered are the middle 32 elements of each.
struct Data {
  std::vector<float> input = std::vector<float>(96), output = std::vector<float>(96);
  float* in() { return input.data() + 32; }
  float* out() { return output.data() + 32; }
  emulator::Tensors tensors() {
    return {{"input", in(), 4, 32, false},
            {"output", out(), 4, 32, true},
            {"bias", nullptr, 4, 0, false}};
  }
};

__global__ void copy_element(const float* in, float* out) {
  store_global(out, load_global<float>(in));
}

void run(const float* in, float* out) { CNNKERN_LAUNCH(copy_element, 1, 1, 0, nullptr, in, out); }

TEST(accesses_inside_the_tensors_are_allowed) {
  Data data;
  const TensorScope scope(data.tensors());
  for (int i = 0; i < 32; ++i) run(data.in() + i, data.out() + 31 - i);
  run(data.out(), data.out() + 1);
}

TEST(a_load_out_of_bounds_names_tensor_element_and_range) {
  Data data;
  const TensorScope scope(data.tensors());
  check_throws([&] { run(data.in() + 32, data.out()); },
               {"load out of the bounds of 'input': element 32, allowed 0 … 31",
                "test_tensors.cpp:", "copy_element", "thread  (0, 0, 0)"});
  check_throws([&] { run(data.in() - 1, data.out()); },
               {"load out of the bounds of 'input': element -1, allowed 0 … 31"});
}

TEST(a_store_out_of_bounds_is_reported) {
  Data data;
  const TensorScope scope(data.tensors());
  check_throws([&] { run(data.in(), data.out() + 33); },
               {"store out of the bounds of 'output': element 33, allowed 0 … 31"});
}

TEST(a_store_to_an_input_is_reported) {
  Data data;
  const TensorScope scope(data.tensors());
  check_throws([&] { run(data.in() + 3, data.in() + 3); },
               {"store to 'input', which this launch may only read: element 3 of 'input'"});
}

__global__ void load_vector(const float* in) { load_global<Vector<float, 4>>(in); }

TEST(a_vector_that_reaches_past_the_end_is_reported) {
  alignas(16) static const float in[36] = {};
  const TensorScope scope({{"input", in, 4, 34, false}});
  CNNKERN_LAUNCH(load_vector, 1, 1, 0, nullptr, in + 28);
  check_throws([] { CNNKERN_LAUNCH(load_vector, 1, 1, 0, nullptr, in + 32); },
               {"elements 32 … 35, allowed 0 … 33"});
}

struct Slot {
  alignas(16) float value[4];
};

__global__ void copy_async_from(const float* in, bool valid) {
  CNNKERN_SHARED(Slot, shared);
  cp_async_4(shared.value, in, valid);
  cp_async_commit();
  cp_async_wait<0>();
}

TEST(the_source_of_a_copy_is_checked_where_it_is_read) {
  Data data;
  const TensorScope scope(data.tensors());
  CNNKERN_LAUNCH(copy_async_from, 1, 1, sizeof(Slot), nullptr, data.in() + 32, false);
  check_throws(
      [&] { CNNKERN_LAUNCH(copy_async_from, 1, 1, sizeof(Slot), nullptr, data.in() + 32, true); },
      {"load out of the bounds of 'input': element 32"});
}

TEST(a_scope_ends_and_may_be_nested) {
  Data data;
  {
    const TensorScope outer(data.tensors());
    {
      const TensorScope inner({{"all", data.input.data(), 4, 96, true}});
      run(data.in() + 32, data.in() - 1);
    }
    check_throws([&] { run(data.in() + 32, data.out()); }, {"'input'"});
  }
  run(data.in() + 32, data.out() - 1);
}

__global__ void copy_by_block(const float* in, float* out) {
  store_global(out + blockIdx.x, load_global<float>(in + blockIdx.x));
}

TEST(blocks_on_other_os_threads_are_checked) {
  Data data;
  emulator::set_threads(4);
  const TensorScope scope(data.tensors());
  CNNKERN_LAUNCH(copy_by_block, 32, 1, 0, nullptr, data.in(), data.out());
  check_throws([&] { CNNKERN_LAUNCH(copy_by_block, 33, 1, 0, nullptr, data.in(), data.out()); },
               {"element 32, allowed 0 … 31", "block   (32, 0, 0)"});
  emulator::set_threads(1);
}

TEST(a_race_is_told_by_tensor_and_element) {
  Data data;
  const TensorScope scope(data.tensors());
  emulator::set_race_check(true);
  check_throws([&] { CNNKERN_LAUNCH(copy_element, 1, 2, 0, nullptr, data.in(), data.out() + 7); },
               {"race", "both touch element 7 of 'output'"});
  emulator::set_race_check(false);
}

}  // namespace
}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
