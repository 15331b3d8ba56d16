// The two GPUs of the stand-in runtime (cudart.h) as a test sees them: what kind they are, every
// call they got, and a capture that forbids what CUDA forbids while a graph is recorded.
#pragma once

#include <cuda_runtime.h>

#include <string>
#include <vector>

#include "common/launch_limits.h"

namespace cnnkern::emulator {

inline constexpr int gpu_count = 2;

/// What a GPU is from now on; without a call both are A100.
void set_gpu(int device, const DeviceCaps& caps);

struct RuntimeCall {
  std::string function;           // "cudaLaunchKernelEx"
  int device = 0;                 // the current one, or the one asked about
  cudaStream_t stream = nullptr;  // of a launch or a synchronisation
  std::string kernel = "";        // of a launch or an attribute
  LaunchShape shape = {};         // of a launch
  cudaError_t error = cudaSuccess;
};

/// Calls of all threads are kept from open_log() to close_log(); log_call() adds what a test wants
/// to see among them.
void open_log();
void log_call(RuntimeCall call);
std::vector<RuntimeCall> close_log();

/// As cudaStreamBeginCapture in its global mode: until end_capture(), calls that synchronise or
/// allocate fail, and so does a launch into the default stream. Launches are checked and logged,
/// but as in CUDA they do not run; there is no graph to replay.
void begin_capture(cudaStream_t stream);
void end_capture();

}  // namespace cnnkern::emulator
