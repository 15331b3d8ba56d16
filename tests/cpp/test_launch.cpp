// The host's side of a launch: the one launcher of csrc/common/launch.h against the stand-in
// runtime, which must refuse what CUDA refuses and say so in a sentence.
#include <vector>

#include "check.h"
#include "cuda/primitives/ldst.cuh"
#include "cuda/primitives/shared.cuh"
#include "emulator/gpus.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

using emulator::RuntimeCall;
using testing::check_throws;

struct BigTile {
  float value[16 << 10];  // 64 KiB
};

// One for each test, as a kernel keeps its opt-in.
enum class OptIn { launcher, missing, other_device };

template <OptIn test>
__global__ void fill_big_tile(float* out) {
  CNNKERN_SHARED(BigTile, shared);
  const int last = sizeof(BigTile) / sizeof(float) - 1;
  store_shared(&shared.value[last], 1.0f);
  store_global(out, load_shared<float>(&shared.value[last]));
}

__global__ void write_one(float* out) { store_global(out, 1.0f); }

cudaLaunchConfig_t config_of(dim3 grid, dim3 block, size_t shared_bytes = 0) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid, config.blockDim = block, config.dynamicSmemBytes = shared_bytes;
  return config;
}

cudaStream_t stream_of(int device) {
  int before = 0;
  cudaStream_t stream = nullptr;
  cudaGetDevice(&before);
  cudaSetDevice(device);
  cudaStreamCreate(&stream);
  cudaSetDevice(before);
  return stream;
}

TEST(the_kibibyte_that_the_system_takes_counts) {
  DeviceCaps device = *find_device("sm_80");
  device.shared_per_multiprocessor = 64 << 10;
  const KernelResources kernel{.cubins = {"80"}};
  const auto wrong = [&](int64_t bytes) {
    return validate_launch(device, kernel, {.dynamic_shared_bytes = bytes, .opted_in = true});
  };
  CHECK(wrong(63 << 10).empty());
  CHECK(wrong(64 << 10) ==
        "a block takes 65536 bytes of shared memory and 1024 more for the system, a multiprocessor "
        "of sm_80 has 65536");
  device.arch = 75;
  CHECK(validate_launch(device, {.cubins = {"75"}},
                        {.dynamic_shared_bytes = 64 << 10, .opted_in = true})
            .empty());
}

TEST(the_launcher_opts_in_to_much_shared_memory) {
  float out = 0;
  CNNKERN_LAUNCH(fill_big_tile<OptIn::launcher>, 1, 1, sizeof(BigTile), nullptr, &out);
  CHECK(out == 1.0f);
}

TEST(much_shared_memory_without_the_opt_in_is_refused) {
  float out = 0;
  constexpr auto kernel = fill_big_tile<OptIn::missing>;
  const cudaLaunchConfig_t config = config_of(1, 1, sizeof(BigTile));
  CHECK(cudaLaunchKernelEx(&config, kernel, &out) == cudaErrorInvalidValue);
  CHECK(out == 0.0f);
  CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             sizeof(BigTile)) == cudaSuccess);
  CHECK(cudaLaunchKernelEx(&config, kernel, &out) == cudaSuccess);
  CHECK(out == 1.0f);
}

TEST(an_opt_in_counts_on_its_own_device_only) {
  float out = 0;
  constexpr auto kernel = fill_big_tile<OptIn::other_device>;
  const cudaLaunchConfig_t config = config_of(1, 1, sizeof(BigTile));
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(BigTile));
  cudaSetDevice(1);
  CHECK(cudaLaunchKernelEx(&config, kernel, &out) == cudaErrorInvalidValue);
  cudaSetDevice(0);
}

TEST(more_shared_memory_than_the_device_has_is_refused) {
  CNNKERN_LAUNCH(write_one, 1, 1, 163 << 10, nullptr, std::vector<float>(1).data());
  check_throws([] { CNNKERN_LAUNCH(write_one, 1, 1, (163 << 10) + 4, nullptr, nullptr); },
               {"launching write_one failed: invalid argument: 166916 bytes of shared memory",
                "sm_80 allows 166912 for a block"});
  emulator::set_gpu(0, *find_device("sm_75"));
  CNNKERN_LAUNCH(write_one, 1, 1, 64 << 10, nullptr, std::vector<float>(1).data());
  check_throws([] { CNNKERN_LAUNCH(write_one, 1, 1, 65 << 10, nullptr, nullptr); },
               {"sm_75 allows 65536 for a block"});
  emulator::set_gpu(0, *find_device("sm_80"));
}

TEST(impossible_shapes_are_refused_in_a_sentence) {
  const auto refused = [](dim3 grid, dim3 block, const char* why) {
    check_throws([&] { CNNKERN_LAUNCH(write_one, grid, block, 0, nullptr, nullptr); },
                 {"launching write_one failed: invalid configuration argument: ", why});
  };
  refused(1, 1025, "a block of 1025 threads, 1024 are allowed");
  refused(1, dim3(1, 1, 65), "a block of 1 x 1 x 65 threads, 64 are allowed along z");
  refused(1, 0, "an empty block: 0 x 1 x 1");
  refused(dim3(1, 0), 1, "an empty grid: 1 x 0 x 1");
  refused(1u << 31, 1, "a grid larger than 2147483647 x 65535 x 65535: 2147483648 x 1 x 1");
  refused(dim3(1, 1, 65536), 1, "a grid larger than");
}

TEST(a_failed_launch_leaves_no_error_behind) {
  check_throws([] { CNNKERN_LAUNCH(write_one, 0, 1, 0, nullptr, nullptr); }, {"failed"});
  CHECK(cudaGetLastError() == cudaSuccess);
}

TEST(a_stream_of_another_device_is_refused) {
  const cudaStream_t stream = stream_of(1);
  check_throws([&] { CNNKERN_LAUNCH(write_one, 1, 1, 0, stream, nullptr); },
               {"invalid resource handle: a stream of device 1, but device 0 is current"});
  cudaSetDevice(1);
  float out = 0;
  CNNKERN_LAUNCH(write_one, 1, 1, 0, stream, &out);
  CHECK(out == 1.0f);
  cudaSetDevice(0);
  cudaStreamDestroy(stream);
}

TEST(there_are_two_devices) {
  int count = 0, value = 0;
  CHECK(cudaGetDeviceCount(&count) == cudaSuccess && count == 2);
  CHECK(cudaSetDevice(2) == cudaErrorInvalidDevice);
  CHECK(std::string(cudaGetErrorString(cudaGetLastError())) == "invalid device ordinal");
  emulator::set_gpu(1, *find_device("sm_90"));
  CHECK(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 1) == cudaSuccess);
  CHECK(value == 132);
  emulator::set_gpu(1, *find_device("sm_80"));
}

TEST(the_log_names_function_device_stream_and_kernel) {
  const cudaStream_t stream = stream_of(1);
  std::vector<float> out(1);
  emulator::open_log();
  cudaSetDevice(1);
  CNNKERN_LAUNCH(write_one, dim3(2, 3), 4, 64 << 10, stream, out.data());
  cudaSetDevice(0);
  const std::vector<RuntimeCall> calls = emulator::close_log();
  CHECK(calls.size() == 4);
  CHECK(calls[0].function == "cudaSetDevice" && calls[0].device == 1);
  CHECK(calls[1].function == "cudaFuncSetAttribute" && calls[1].kernel == "write_one");
  const RuntimeCall& launch = calls[2];
  CHECK(launch.function == "cudaLaunchKernelEx" && launch.kernel == "write_one");
  CHECK(launch.device == 1 && launch.stream == stream && launch.error == cudaSuccess);
  CHECK(launch.shape.grid[1] == 3 && launch.shape.threads() == 4);
  CHECK(launch.shape.dynamic_shared_bytes == 64 << 10);
  CHECK(calls[3].device == 0);
  CHECK(emulator::close_log().empty());
  cudaStreamDestroy(stream);
}

TEST(a_capture_takes_launches_without_running_them) {
  const cudaStream_t stream = stream_of(0);
  float out = 0;
  emulator::begin_capture(stream);
  CNNKERN_LAUNCH(write_one, 1, 1, 0, stream, &out);
  CHECK(out == 0.0f);
  check_throws([&] { CNNKERN_LAUNCH(write_one, 1, 1, 0, nullptr, &out); }, {"legacy stream"});
  emulator::end_capture();
  CNNKERN_LAUNCH(write_one, 1, 1, 0, stream, &out);
  CHECK(out == 1.0f);
  cudaStreamDestroy(stream);
}

TEST(a_capture_forbids_to_synchronise_and_to_allocate) {
  const cudaStream_t stream = stream_of(0);
  void* memory = nullptr;
  CHECK(cudaMalloc(&memory, 16) == cudaSuccess);
  emulator::begin_capture(stream);
  CHECK(cudaDeviceSynchronize() == cudaErrorStreamCaptureUnsupported);
  CHECK(cudaStreamSynchronize(stream) == cudaErrorStreamCaptureUnsupported);
  void* more = nullptr;
  CHECK(cudaMalloc(&more, 16) == cudaErrorStreamCaptureUnsupported && more == nullptr);
  CHECK(cudaFree(memory) == cudaErrorStreamCaptureUnsupported);
  emulator::end_capture();
  CHECK(cudaDeviceSynchronize() == cudaSuccess && cudaFree(memory) == cudaSuccess);
  cudaStreamDestroy(stream);
}

}  // namespace
}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
