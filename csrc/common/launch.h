// How a kernel starts, on a GPU and in the emulator alike; nothing in csrc/ writes <<<>>>.
//
//   CNNKERN_LAUNCH((fprop_kernel<float, 128>), grid, block, sizeof(SharedStorage), stream, params);
//
// <cuda_runtime.h> is NVIDIA's, or the emulator's if csrc/emulator/include stands before it on the
// include path; that one defines CNNKERN_EMULATOR, and its runtime is a stand-in with two devices.
// Two names tell the builds apart:
//   CNNKERN_CUDA_NAMESPACE  where all of csrc/cuda lives: `cuda`, or what the emulator's build says
//                           (emulated_sm75, emulated_sm80), so that both paths link into one
//                           library
//   CNNKERN_ARCH            750, 800, …: the architecture this pass compiles for; 0 in host code
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>
#include <utility>

#include "common/launch_limits.h"

#if defined(CNNKERN_EMULATOR)
#if !defined(CNNKERN_CUDA_NAMESPACE) || !defined(CNNKERN_ARCH)
#error "an emulator build passes -DCNNKERN_CUDA_NAMESPACE=emulated_smXX and -DCNNKERN_ARCH=XX0"
#endif
#else
#if !defined(CNNKERN_CUDA_NAMESPACE)
#define CNNKERN_CUDA_NAMESPACE cuda
#endif
#if defined(__CUDA_ARCH__)
#define CNNKERN_ARCH __CUDA_ARCH__
#else
#define CNNKERN_ARCH 0
#endif
#endif

#define CNNKERN_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                         \
  ::cnnkern::CNNKERN_CUDA_NAMESPACE::launch_kernel(#kernel, grid, block, shared_bytes, stream, \
                                                   kernel __VA_OPT__(, ) __VA_ARGS__)

#if defined(__CUDACC__) || defined(CNNKERN_EMULATOR)

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

/// Throws "launching <kernel> failed: …", and forgets the error: PyTorch would take it for its own.
inline void check_launched(cudaError_t status, const char* name) {
  if (status == cudaSuccess) return;
  const std::string reason = cudaGetErrorString(status);
  cudaGetLastError();
  throw std::runtime_error("launching " + std::string(name) + " failed: " + reason);
}

template <class... Params, class... Args>
void launch_kernel(const char* name, dim3 grid, dim3 block, size_t shared_bytes,
                   cudaStream_t stream, void (*kernel)(Params...), Args&&... args) {
  static_assert((sizeof(Params) + ... + 0) <= max_parameter_bytes);
#if defined(CNNKERN_EMULATOR)
  emulator::name_kernel(reinterpret_cast<const void*>(kernel), name);
#endif
  if (shared_bytes > shared_bytes_without_opt_in)
    check_launched(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                        static_cast<int>(shared_bytes)),
                   name);
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  check_launched(cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...), name);
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE

#endif
