// Finds data races exactly, whatever order the threads happened to run in.
//
// The table remembers for each byte (four that always go together: once) the last write and the
// reads since then. Two accesses of
// different threads, one of them a write, are a race unless something orders them:
//   a __syncthreads between them (each counts an epoch of its block), or
//   a chain of sync_warps from the one lane to the other (each lane keeps a vector clock). No other
//   collective orders memory: CUDA C++ Programming Guide, "Warp Shuffle Functions" and "Warp Vote
//   Functions".
// Nothing orders the blocks of a launch. Between issue and arrival of a cp.async its destination
// belongs to nobody; when it arrives the bytes are written anew, by the thread that waited.
//
// Only what goes through csrc/cuda/primitives is seen; ThreadSanitizer sees the rest.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "emulator/block.h"
#include "emulator/observer.h"

namespace cnnkern::emulator {

/// An access as the table remembers it.
struct AccessRecord {
  Site site;
  uint64_t block;  // its linear index in the grid
  uint32_t epoch;  // __syncthreads that the block had passed
  uint32_t tick;   // of the lane's own clock
  uint16_t thread;
  Effect effect;
  uint8_t bytes;
};

/// What is known of bytes that all accesses so far touched together.
struct History {
  bool written = false;
  uint32_t lanes = 0;  // of whom `reads` has one, where all are one warp's
  AccessRecord write;  // the last one, if there was any
  // Since then; see add_read for what may be left out.
  std::vector<AccessRecord> reads;

  void add_read(const AccessRecord& read);
  void forget_reads();
};

/// What is known of four bytes: one history, until an access touches less than all of them.
struct Word {
  static constexpr uintptr_t bytes = 4;
  History whole;
  std::unique_ptr<std::array<History, bytes>> each;
};

/// Global memory, which all blocks of a launch share; pages come into being when they are touched.
class GlobalHistory {
 public:
  struct Page {
    static constexpr uintptr_t bytes = 256;
    std::mutex mutex;
    std::array<Word, bytes / Word::bytes> words;
  };
  Page& page(uintptr_t number);

 private:
  struct Shard {
    std::mutex mutex;
    std::unordered_map<uintptr_t, std::unique_ptr<Page>> pages;
  };
  std::array<Shard, 16> shards_;
};

class RaceTable : public LaunchObserver {
 public:
  explicit RaceTable(const LaunchInfo& launch) : launch_(launch) {}
  std::unique_ptr<BlockObserver> begin_block(uint3 index, uint64_t linear_index) override;

 private:
  const LaunchInfo& launch_;
  GlobalHistory global_;
};

class BlockRaceTable : public BlockObserver {
 public:
  BlockRaceTable(const LaunchInfo& launch, GlobalHistory& global, uint64_t block);
  void access(const Access& access) override;
  void barrier(Site site) override;
  void collective(const char* opcode, int first_thread, unsigned mask, Site site) override;

 private:
  using Clock = std::array<uint32_t, 32>;  // what a lane knows of each lane of its warp

  void visit(Word* words, const AccessRecord& now, const std::byte* address);
  void visit(History& history, const AccessRecord& now, const void* address);
  bool ordered(const AccessRecord& earlier, const AccessRecord& now) const;
  GlobalHistory::Page& global_page(uintptr_t number);
  [[noreturn]] void fail_in_flight(const AccessRecord& copy, const AccessRecord& now,
                                   const void* address) const;
  [[noreturn]] void fail_race(const AccessRecord& earlier, const AccessRecord& now,
                              const void* address) const;
  std::string missing(const AccessRecord& earlier, const AccessRecord& now) const;

  const LaunchInfo& launch_;
  GlobalHistory& global_;
  const uint64_t block_;
  uint32_t epoch_ = 0;
  Site last_barrier_;
  std::vector<Clock> clocks_;  // of each thread
  std::vector<Word> shared_;   // shared memory's
  struct CachedPage {
    uintptr_t number = 0;
    GlobalHistory::Page* page = nullptr;
  };
  std::array<CachedPage, 64> cached_pages_;
};

}  // namespace cnnkern::emulator
