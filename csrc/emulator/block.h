// One block at a time: its threads as fibers, its shared memory, its barriers and warps.
#pragma once

#include <cuda_runtime.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "emulator/device.h"
#include "emulator/fiber.h"
#include "emulator/observer.h"

namespace cnnkern::emulator {

/// All that the blocks of a launch have in common.
struct LaunchInfo {
  const char* kernel_name;
  dim3 grid, block;
  size_t shared_bytes;
  uint64_t seed;
  const std::function<void()>* body;
};

/// The place of a thread in its block, or of a block in its grid.
inline uint3 coordinates(uint64_t linear, const dim3& shape) {
  return {static_cast<unsigned>(linear % shape.x),
          static_cast<unsigned>(linear / shape.x % shape.y),
          static_cast<unsigned>(linear / shape.x / shape.y)};
}

enum class ThreadState { fresh, ready, at_barrier, at_rendezvous, exited };

/// A cp.async under way.
struct Copy {
  std::byte data[16];  // read from global memory at issue
  void* destination;
  size_t bytes;
  int group;
  Site site;
};

struct Thread {
  ThreadState state = ThreadState::fresh;
  Fiber* fiber = nullptr;  // while it has started and not ended
  Site site;               // where it waits
  const char* waits_in = nullptr;
  std::vector<Copy> copies;  // not landed yet, oldest first
  int committed_groups = 0;
};

/// Lanes of a warp that wait for each other in one collective.
struct Rendezvous {
  unsigned mask, arrived;
  const char* opcode;
  Site site;
  std::array<void*, 32> operands;
  std::shared_ptr<void> sync_point;
};

/// Whether a collective orders the lanes' accesses to memory. The CUDA C++ Programming Guide says
/// so of __syncwarp alone.
bool orders_memory(const char* opcode);

/// xorshift64*: small, fast, and good enough to shuffle threads.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du) {
    if (state_ == 0) state_ = 1;
  }
  /// In [0, bound).
  uint32_t below(uint32_t bound) {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return static_cast<uint32_t>((state_ * 0x2545f4914f6cdd1du >> 32) * bound >> 32);
  }

 private:
  uint64_t state_;
};

/// Runs blocks, one after the other, on the OS thread that calls; keeps stacks and shared memory.
class Block {
 public:
  using Observers = std::vector<std::unique_ptr<LaunchObserver>>;

  /// Throws std::runtime_error with a report if the kernel broke a rule.
  void run(const LaunchInfo& launch, const Observers& observers, uint64_t index);

  /// The block that runs on this OS thread; null outside a kernel.
  static thread_local Block* current;

  // What a running thread asks for, see device.h.
  void barrier(Site site);
  void rendezvous(unsigned mask, const char* opcode, void* operands, Complete complete, Site site);
  void cp_async_issue(void* shared, const void* global, size_t bytes, bool valid, Site site);
  void cp_async_commit_group();
  void cp_async_wait_group(int pending);
  void observe_access(Space space, Effect effect, const void* pointer, size_t bytes, Site site);
  [[noreturn]] void fail(const std::string& message, Site site) const;

 private:
  struct Warp {
    unsigned lanes = 0, exited = 0;  // bit masks
    std::vector<Rendezvous> open;
    bool lags = false;
  };
  static constexpr size_t red_zone = 4096;  // bytes before and after shared memory

  void prepare_shared_memory();
  void check_red_zones() const;
  void start_threads();
  void schedule();
  void resume(int thread);
  void run_thread();
  void wait(ThreadState state, const char* waits_in, Site site);
  void make_ready(int thread);
  void give_way();
  void release_barrier();
  void cancel();
  [[noreturn]] void fail_stuck() const;
  std::string where() const;
  std::string who_waits_where() const;
  Fiber* take_fiber();

  const LaunchInfo* launch_ = nullptr;
  std::vector<std::unique_ptr<BlockObserver>> observers_;
  uint64_t index_ = 0;  // of the block in its grid
  Random random_{0};
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  std::vector<int> ready_;    // in the order they will run, last first
  std::vector<int> lagging_;  // ready too, but of warps that lag: they run when no other can
  int running_ = -1;          // the thread that runs; -1 while the scheduler does
  int at_barrier_ = 0, exited_ = 0;
  std::shared_ptr<void> barrier_sync_point_;
  bool cancelling_ = false;
  std::string failure_;

  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_fibers_;
  std::vector<std::byte> shared_;  // red zone, shared memory, red zone, and room to align
  std::byte* shared_begin_ = nullptr;
};

}  // namespace cnnkern::emulator
