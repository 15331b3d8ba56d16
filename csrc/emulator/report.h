// Words for reports.
#pragma once

#include <string>

#include "emulator/block.h"

namespace cnnkern::emulator {

/// "file:line".
std::string place(Site site);

/// "thread (3, 0, 0), warp 0, lane 3".
std::string describe_thread(const LaunchInfo& launch, int thread);

/// "block (1, 0, 0)".
std::string describe_block(const LaunchInfo& launch, uint64_t linear_index);

/// "bytes 8-11 of shared memory", "element 7 of 'input'", "4 bytes at address 0x…".
std::string describe(const void* pointer, size_t bytes);

}  // namespace cnnkern::emulator
