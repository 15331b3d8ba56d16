// Those who watch a kernel run: the race table, the counters. The block tells them of every access,
// barrier and collective; they keep their own books and may end the kernel with fail().
#pragma once

#include <cuda_runtime.h>

#include <memory>
#include <vector>

#include "emulator/device.h"

namespace cnnkern::emulator {

struct LaunchInfo;

/// One access of one thread, told before it happens.
struct Access {
  Space space;
  Effect effect;
  const void* pointer;
  size_t bytes;
  Site site;
  int thread;  // of the block
};

/// Watches one block. All calls come from the OS thread that runs the block.
class BlockObserver {
 public:
  virtual ~BlockObserver() = default;
  virtual void access(const Access&) {}
  /// Of a lane whose predicate is off: it touches nothing, but is part of its warp's request.
  virtual void skipped(const Access&) {}
  /// All threads of the block have arrived; none has gone on.
  virtual void barrier(Site) {}
  /// All lanes of the mask have arrived, none has gone on; first_thread is the warp's lane 0.
  virtual void collective(const char* /*opcode*/, int /*first_thread*/, unsigned /*mask*/, Site) {}
  virtual void thread_ended(int /*thread*/) {}
  /// All threads have ended without an error.
  virtual void block_ended() {}
};

/// Watches one launch, whose blocks may run on several OS threads at a time.
class LaunchObserver {
 public:
  virtual ~LaunchObserver() = default;
  virtual std::unique_ptr<BlockObserver> begin_block(uint3 index, uint64_t linear_index) = 0;
  /// All blocks have ended without an error.
  virtual void launch_ended() {}
};

/// Those who are to watch this launch; empty if nobody asked for any.
std::vector<std::unique_ptr<LaunchObserver>> observers_of(const LaunchInfo& launch);

}  // namespace cnnkern::emulator
