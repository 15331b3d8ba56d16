#include "common/launch_limits.h"

#include <cstdlib>

#include "common/sentence.h"

namespace cnnkern {
namespace {

std::string triple(const std::array<int64_t, 3>& sizes) {
  return sentence(sizes[0], " x ", sizes[1], " x ", sizes[2]);
}

/// Machine code runs on its own architecture and on later ones of the same major number; that of
/// sm_90a and its like on no other.
bool runs_on(const std::string& cubin, int arch) {
  const int made_for = std::atoi(cubin.c_str());
  const bool exact = cubin.ends_with('a');
  return made_for == arch || (!exact && made_for / 10 == arch / 10 && made_for < arch);
}

std::string validate_code(const DeviceCaps& device, const KernelResources& kernel) {
  if (kernel.ptx != 0 && kernel.ptx <= device.arch) return "";
  std::string archs;
  for (const std::string& cubin : kernel.cubins) {
    if (runs_on(cubin, device.arch)) return "";
    archs += (archs.empty() ? "sm_" : ", sm_") + cubin;
  }
  return sentence("there is no code for ", device.name, ": machine code for ",
                  archs.empty() ? "nothing" : archs,
                  kernel.ptx ? sentence(" and PTX for compute_", kernel.ptx) : " and no PTX");
}

std::string validate_registers(const DeviceCaps& device, const KernelResources& kernel,
                               const LaunchShape& shape) {
  const int64_t warps = (shape.threads() + 31) / 32;
  const int64_t warp_registers = (int64_t{kernel.registers} * 32 + 255) / 256 * 256;
  if (warps * warp_registers <= device.registers_per_multiprocessor) return "";
  return sentence(shape.threads(), " threads with ", kernel.registers, " registers take ",
                  warps * warp_registers, " registers, a multiprocessor of ", device.name, " has ",
                  device.registers_per_multiprocessor);
}

std::string validate_shared(const DeviceCaps& device, const KernelResources& kernel,
                            const LaunchShape& shape) {
  const int64_t bytes = kernel.static_shared_bytes + shape.dynamic_shared_bytes;
  const int64_t reserved = device.arch >= 80 ? 1024 : 0;
  if (bytes > device.shared_per_block)
    return sentence("a block takes ", bytes, " bytes of shared memory, ", device.name, " allows ",
                    device.shared_per_block);
  if (bytes > shared_bytes_without_opt_in && !shape.opted_in)
    return sentence("a block takes ", bytes, " bytes of shared memory, but without ",
                    "cudaFuncAttributeMaxDynamicSharedMemorySize it may take ",
                    shared_bytes_without_opt_in);
  if (bytes + reserved > device.shared_per_multiprocessor)
    return sentence("a block takes ", bytes, " bytes of shared memory and ", reserved,
                    " more for the system, a multiprocessor of ", device.name, " has ",
                    device.shared_per_multiprocessor);
  return "";
}

}  // namespace

std::string validate_shape(const LaunchShape& shape) {
  constexpr std::array<int64_t, 3> most_blocks{0x7fffffff, 65535, 65535};
  constexpr int64_t most_deep = 64;
  for (size_t axis = 0; axis < 3; ++axis) {
    if (shape.grid[axis] < 1) return "an empty grid: " + triple(shape.grid) + " blocks";
    if (shape.grid[axis] > most_blocks[axis])
      return sentence("a grid larger than ", triple(most_blocks), ": ", triple(shape.grid));
    if (shape.block[axis] < 1) return "an empty block: " + triple(shape.block) + " threads";
  }
  if (shape.threads() > max_block_threads)
    return sentence("a block of ", shape.threads(), " threads, ", max_block_threads,
                    " are allowed");
  if (shape.block[2] > most_deep)
    return sentence("a block of ", triple(shape.block), " threads, ", most_deep,
                    " are allowed along z");
  return "";
}

std::string validate_launch(const DeviceCaps& device, const KernelResources& kernel,
                            const LaunchShape& shape) {
  if (std::string wrong = validate_code(device, kernel); !wrong.empty()) return wrong;
  if (std::string wrong = validate_shape(shape); !wrong.empty()) return wrong;
  if (kernel.max_threads > max_block_threads)
    return sentence("launch bounds of ", kernel.max_threads, " threads are larger than ",
                    max_block_threads);
  if (shape.threads() > kernel.max_threads)
    return sentence("a block of ", shape.threads(), " threads exceeds the launch bounds of ",
                    kernel.max_threads);
  if (kernel.parameter_bytes > max_parameter_bytes)
    return sentence("the parameters take ", kernel.parameter_bytes, " bytes, ", max_parameter_bytes,
                    " are allowed");
  if (std::string wrong = validate_registers(device, kernel, shape); !wrong.empty()) return wrong;
  return validate_shared(device, kernel, shape);
}

}  // namespace cnnkern
