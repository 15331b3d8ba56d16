// How a kernel starts, on a GPU and in the emulator alike; nothing in csrc/ writes <<<>>>.
//
//   CNNKERN_LAUNCH((fprop_kernel<float, 128>), grid, block, sizeof(SharedStorage), stream, params);
//
// <cuda_runtime.h> is NVIDIA's, or the emulator's shim if csrc/emulator/include stands before it on
// the include path; the shim defines CNNKERN_EMULATOR. Two names tell the builds apart:
//   CNNKERN_CUDA_NAMESPACE  where all of csrc/cuda lives: `cuda`, or what the emulator's build says
//                           (emulated_sm75, emulated_sm80), so that both paths link into one
//                           library
//   CNNKERN_ARCH            750, 800, …: the architecture this pass compiles for; 0 in host code
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>
#include <utility>

#if defined(CNNKERN_EMULATOR)

#include "emulator/launch.h"

#if !defined(CNNKERN_CUDA_NAMESPACE) || !defined(CNNKERN_ARCH)
#error "an emulator build passes -DCNNKERN_CUDA_NAMESPACE=emulated_smXX and -DCNNKERN_ARCH=XX0"
#endif

#define CNNKERN_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)           \
  ::cnnkern::emulator::launch_kernel(#kernel, grid, block, shared_bytes, stream, \
                                     kernel __VA_OPT__(, ) __VA_ARGS__)

#else

#if !defined(CNNKERN_CUDA_NAMESPACE)
#define CNNKERN_CUDA_NAMESPACE cuda
#endif

#if defined(__CUDA_ARCH__)
#define CNNKERN_ARCH __CUDA_ARCH__
#else
#define CNNKERN_ARCH 0
#endif

#define CNNKERN_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                         \
  ::cnnkern::CNNKERN_CUDA_NAMESPACE::launch_kernel(#kernel, grid, block, shared_bytes, stream, \
                                                   kernel __VA_OPT__(, ) __VA_ARGS__)

#if defined(__CUDACC__)

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

inline void check_cuda(cudaError_t status, const char* what) {
  if (status != cudaSuccess)
    throw std::runtime_error(std::string("launching ") + what +
                             " failed: " + cudaGetErrorString(status));
}

template <class... Params, class... Args>
void launch_kernel(const char* name, dim3 grid, dim3 block, size_t shared_bytes,
                   cudaStream_t stream, void (*kernel)(Params...), Args&&... args) {
  constexpr size_t default_limit = 48 << 10;  // more shared memory has to be asked for
  if (shared_bytes > default_limit)
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shared_bytes)),
               name);
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  check_cuda(cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...), name);
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE

#endif
#endif
