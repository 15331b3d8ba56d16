// What a plan may know of a GPU: numbers that any machine can hold, so that plans for a GPU are
// made and tested where there is none. Source: CUDA C++ Programming Guide, "Technical
// specifications per compute capability"; SM counts and L2 are those of the named product.
#pragma once

#include <array>
#include <string_view>

namespace cnnkern {

struct DeviceCaps {
  const char* name;     // "sm_80", as users write it
  const char* product;  // "A100"
  int arch;             // 80
  int multiprocessors;
  int threads_per_multiprocessor;
  int blocks_per_multiprocessor;
  int registers_per_multiprocessor;
  int shared_per_multiprocessor;  // bytes
  int shared_per_block;           // bytes, with opt-in; 48 KiB without
  int l2_bytes;
};

inline constexpr std::array<DeviceCaps, 7> known_devices = {{
    {"sm_75", "T4", 75, 40, 1024, 16, 65536, 64 << 10, 64 << 10, 4 << 20},
    {"sm_80", "A100", 80, 108, 2048, 32, 65536, 164 << 10, 163 << 10, 40 << 20},
    {"sm_86", "RTX 3090", 86, 82, 1536, 16, 65536, 100 << 10, 99 << 10, 6 << 20},
    {"sm_89", "RTX 4090", 89, 128, 1536, 24, 65536, 100 << 10, 99 << 10, 72 << 20},
    {"sm_90", "H100", 90, 132, 2048, 32, 65536, 228 << 10, 227 << 10, 50 << 20},
    {"sm_100", "B200", 100, 148, 2048, 32, 65536, 228 << 10, 227 << 10, 126 << 20},
    {"sm_120", "RTX 5090", 120, 170, 1536, 24, 65536, 100 << 10, 99 << 10, 96 << 20},
}};

/// Null if no device of that name is known.
inline const DeviceCaps* find_device(std::string_view name) {
  for (const DeviceCaps& device : known_devices)
    if (name == device.name) return &device;
  return nullptr;
}

/// Blocks of a kernel that fit on one multiprocessor at a time. Registers are given out to warps
/// in units of 256; a block also pays 1 KiB of shared memory to the system from sm_80 on.
inline int blocks_per_multiprocessor(const DeviceCaps& device, int threads, int registers,
                                     int shared_bytes) {
  const int warps = (threads + 31) / 32;
  const int warp_registers = (registers * 32 + 255) / 256 * 256;
  const int reserved = device.arch >= 80 ? 1024 : 0;
  const int shared = (shared_bytes + reserved + 127) / 128 * 128;
  int blocks = device.blocks_per_multiprocessor;
  const auto at_most = [&](int limit) { blocks = limit < blocks ? limit : blocks; };
  at_most(device.threads_per_multiprocessor / (warps * 32));
  if (registers > 0) at_most(device.registers_per_multiprocessor / warp_registers / warps);
  if (shared > 0) at_most(device.shared_per_multiprocessor / shared);
  return blocks;
}

}  // namespace cnnkern
