// What a GPU demands of a launch. The emulator runs kernels that no GPU could start: too many
// registers for their threads, no machine code for the device. One pure function knows the rules,
// so that every kernel is checked for every GPU on a machine that has none. Source: CUDA C++
// Programming Guide, "Technical specifications per compute capability" and "Compute capabilities".
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "common/device_caps.h"

namespace cnnkern {

inline constexpr int64_t max_block_threads = 1024;
inline constexpr int64_t max_parameter_bytes = 4096;  // newer drivers take more on newer GPUs
inline constexpr int64_t shared_bytes_without_opt_in = 48 << 10;

/// What the compiler's records say of one kernel.
struct KernelResources {
  int registers = 0;  // per thread
  int64_t static_shared_bytes = 0;
  int64_t max_threads = max_block_threads;  // __launch_bounds__
  int64_t parameter_bytes = 0;
  std::vector<std::string> cubins;  // architectures with machine code: "80", "90a"
  int ptx = 0;                      // 80: any GPU from sm_80 on can compile it; 0: there is none
};

/// What the host asks for.
struct LaunchShape {
  std::array<int64_t, 3> grid{1, 1, 1}, block{1, 1, 1};
  int64_t dynamic_shared_bytes = 0;
  bool opted_in = false;  // to more than 48 KiB of shared memory, by cudaFuncSetAttribute

  int64_t threads() const { return block[0] * block[1] * block[2]; }
};

/// Empty, or what is wrong with a grid or a block on any GPU.
std::string validate_shape(const LaunchShape& shape);

/// Empty, or one sentence that says why this kernel cannot start so on this device.
std::string validate_launch(const DeviceCaps& device, const KernelResources& kernel,
                            const LaunchShape& shape);

}  // namespace cnnkern
