#include "emulator/cudart.h"

#include <array>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>

#include "emulator/gpus.h"
#include "emulator/launch.h"

struct CUstream_st {
  int device;
};

namespace cnnkern::emulator {
namespace {

struct Kernel {
  const char* name = "a kernel";
  std::array<int64_t, gpu_count> shared_limit = {shared_bytes_without_opt_in,
                                                 shared_bytes_without_opt_in};
};

// What all threads share.
struct Runtime {
  std::mutex mutex;
  std::array<DeviceCaps, gpu_count> gpus = {*find_device("sm_80"), *find_device("sm_80")};
  std::unordered_map<const void*, Kernel> kernels;
  std::optional<std::vector<RuntimeCall>> log;
  std::optional<cudaStream_t> captured;
};

Runtime& runtime() {
  static Runtime instance;
  return instance;
}

thread_local int current_device = 0;
thread_local cudaError_t last_error = cudaSuccess;
thread_local std::string last_error_text;

const char* text_of(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidConfiguration: return "invalid configuration argument";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    case cudaErrorInvalidResourceHandle: return "invalid resource handle";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureImplicit:
      return "operation would make the legacy stream depend on a capturing blocking stream";
  }
  return "unrecognized error code";
}

// What a call came to: an error, and what is known of it beyond the error's own text.
struct Outcome {
  cudaError_t error = cudaSuccess;
  std::string detail = "";
};

/// Every call that does or promises something ends here.
cudaError_t finish(RuntimeCall call, const Outcome& outcome) {
  if (outcome.error != cudaSuccess) {
    last_error = outcome.error;
    last_error_text = text_of(outcome.error) + (": " + outcome.detail);
  }
  call.error = outcome.error;
  log_call(std::move(call));
  return outcome.error;
}

cudaError_t finish(const char* function, const Outcome& outcome) {
  return finish({.function = function, .device = current_device}, outcome);
}

bool is_device(int device) { return 0 <= device && device < gpu_count; }

Outcome no_device(int device) {
  return {cudaErrorInvalidDevice, "there is no device " + std::to_string(device)};
}

/// For what synchronises or allocates.
Outcome unless_captured() {
  const std::lock_guard lock(runtime().mutex);
  if (!runtime().captured) return {};
  return {cudaErrorStreamCaptureUnsupported, "it synchronises or allocates"};
}

int value_of(const DeviceCaps& caps, cudaDeviceAttr attribute) {
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount: return caps.multiprocessors;
    case cudaDevAttrL2CacheSize: return caps.l2_bytes;
    case cudaDevAttrMaxThreadsPerMultiProcessor: return caps.threads_per_multiprocessor;
    case cudaDevAttrComputeCapabilityMajor: return caps.arch / 10;
    case cudaDevAttrComputeCapabilityMinor: return caps.arch % 10;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: return caps.shared_per_multiprocessor;
    case cudaDevAttrMaxRegistersPerMultiprocessor: return caps.registers_per_multiprocessor;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: return caps.shared_per_block;
    case cudaDevAttrMaxBlocksPerMultiprocessor: return caps.blocks_per_multiprocessor;
  }
  return 0;
}

Outcome check_launch(const RuntimeCall& call, int64_t shared_limit, bool capturing) {
  if (std::string wrong = validate_shape(call.shape); !wrong.empty())
    return {cudaErrorInvalidConfiguration, wrong};
  if (call.shape.dynamic_shared_bytes > shared_limit)
    return {cudaErrorInvalidValue, std::to_string(call.shape.dynamic_shared_bytes) +
                                       " bytes of dynamic shared memory, but on device " +
                                       std::to_string(call.device) + " the kernel may have " +
                                       std::to_string(shared_limit) +
                                       "; cudaFuncAttributeMaxDynamicSharedMemorySize sets it"};
  if (call.stream != nullptr && call.stream->device != call.device)
    return {cudaErrorInvalidResourceHandle,
            "a stream of device " + std::to_string(call.stream->device) + ", but device " +
                std::to_string(call.device) + " is current"};
  if (capturing && call.stream == nullptr)
    return {cudaErrorStreamCaptureImplicit, "a launch into the default stream"};
  return {};
}

}  // namespace

void set_gpu(int device, const DeviceCaps& caps) {
  const std::lock_guard lock(runtime().mutex);
  runtime().gpus.at(static_cast<size_t>(device)) = caps;
}

void open_log() {
  const std::lock_guard lock(runtime().mutex);
  runtime().log.emplace();
}

void log_call(RuntimeCall call) {
  const std::lock_guard lock(runtime().mutex);
  if (runtime().log) runtime().log->push_back(std::move(call));
}

std::vector<RuntimeCall> close_log() {
  const std::lock_guard lock(runtime().mutex);
  return std::exchange(runtime().log, std::nullopt).value_or(std::vector<RuntimeCall>{});
}

void begin_capture(cudaStream_t stream) {
  const std::lock_guard lock(runtime().mutex);
  runtime().captured = stream;
}

void end_capture() {
  const std::lock_guard lock(runtime().mutex);
  runtime().captured.reset();
}

void name_kernel(const void* kernel, const char* name) {
  const std::lock_guard lock(runtime().mutex);
  runtime().kernels[kernel].name = name;
}

cudaError_t set_attribute(const void* kernel, cudaFuncAttribute, int value) {
  RuntimeCall call{.function = "cudaFuncSetAttribute", .device = current_device};
  Outcome outcome;
  {
    const std::lock_guard lock(runtime().mutex);
    const auto device = static_cast<size_t>(current_device);
    const int most = runtime().gpus[device].shared_per_block;
    call.kernel = runtime().kernels[kernel].name;
    if (value < 0 || value > most)
      outcome = {cudaErrorInvalidValue, std::to_string(value) + " bytes of shared memory, " +
                                            runtime().gpus[device].name + " allows " +
                                            std::to_string(most) + " for a block"};
    else runtime().kernels[kernel].shared_limit[device] = value;
  }
  return finish(std::move(call), outcome);
}

cudaError_t launch(const cudaLaunchConfig_t& config, const void* kernel,
                   const std::function<void()>& body) {
  const dim3 grid = config.gridDim, block = config.blockDim;
  const LaunchShape shape{.grid = {grid.x, grid.y, grid.z},
                          .block = {block.x, block.y, block.z},
                          .dynamic_shared_bytes = static_cast<int64_t>(config.dynamicSmemBytes)};
  Kernel known;
  bool capturing, into_capture;
  {
    const std::lock_guard lock(runtime().mutex);
    known = runtime().kernels[kernel];
    capturing = runtime().captured.has_value();
    into_capture = capturing && *runtime().captured == config.stream;
  }
  RuntimeCall call{.function = "cudaLaunchKernelEx",
                   .device = current_device,
                   .stream = config.stream,
                   .kernel = known.name,
                   .shape = shape};
  const Outcome outcome =
      check_launch(call, known.shared_limit[static_cast<size_t>(current_device)], capturing);
  const cudaError_t error = finish(std::move(call), outcome);
  if (error == cudaSuccess && !into_capture)
    launch(known.name, grid, block, config.dynamicSmemBytes, body);
  return error;
}

}  // namespace cnnkern::emulator

using namespace cnnkern::emulator;

const char* cudaGetErrorString(cudaError_t error) {
  return error == last_error && error != cudaSuccess ? last_error_text.c_str() : text_of(error);
}

cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }

cudaError_t cudaGetDeviceCount(int* count) {
  *count = gpu_count;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (!is_device(device)) return finish("cudaSetDevice", no_device(device));
  current_device = device;
  return finish("cudaSetDevice", {});
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (!is_device(device)) return finish("cudaDeviceGetAttribute", no_device(device));
  {
    const std::lock_guard lock(runtime().mutex);
    *value = value_of(runtime().gpus[static_cast<size_t>(device)], attribute);
  }
  return finish({.function = "cudaDeviceGetAttribute", .device = device}, {});
}

cudaError_t cudaDeviceSynchronize() { return finish("cudaDeviceSynchronize", unless_captured()); }

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  *stream = new CUstream_st{current_device};
  return finish("cudaStreamCreate", {});
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return finish("cudaStreamDestroy", {});
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return finish({.function = "cudaStreamSynchronize", .device = current_device, .stream = stream},
                unless_captured());
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const std::lock_guard lock(runtime().mutex);
  *status =
      runtime().captured == stream ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  Outcome outcome = unless_captured();
  if (outcome.error == cudaSuccess) {
    *pointer = std::malloc(bytes);
    if (*pointer == nullptr)
      outcome = {cudaErrorMemoryAllocation, std::to_string(bytes) + " bytes"};
  }
  return finish("cudaMalloc", outcome);
}

cudaError_t cudaFree(void* pointer) {
  const Outcome outcome = unless_captured();
  if (outcome.error == cudaSuccess) std::free(pointer);
  return finish("cudaFree", outcome);
}
