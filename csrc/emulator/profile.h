// Counts of what a profiler would show: coalescing, bank conflicts, barriers, instructions.
//
// Lanes run apart here, so a warp's request is put together afterwards: it is the k-th execution of
// one access site by each lane of a warp since the last barrier of the block. A lane that skips an
// access on the way has its later ones, up to the next barrier, counted with an earlier request of
// its neighbours; kernels that mask by a zero-filling cp.async or at their end are counted exactly.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "emulator/observer.h"

namespace cnnkern::emulator {

/// The requests of one access site. A cp.async has two rows: what it reads and what it writes.
struct SiteProfile {
  std::string kind;  // "global load", "shared store", "cp.async read" …
  std::string file, function;
  unsigned line = 0, column = 0;
  uint64_t access_bytes = 0;         // of one lane
  uint64_t requests = 0, lanes = 0;  // lanes: summed over the requests

  // Global memory, by sectors of 32 bytes: those a request touches, and the fewest that could hold
  // the distinct bytes it wants.
  uint64_t sectors = 0, ideal_sectors = 0, distinct_bytes = 0;

  // Shared memory, by 32 banks of 4 bytes: a request takes one phase for 32 lanes of up to 4 bytes,
  // 16 lanes of 8 or 8 lanes of 16; a phase takes as many wavefronts as the busiest bank has
  // distinct words in it. max_ways is the most wavefronts that a phase took.
  uint64_t phases = 0, wavefronts = 0, max_ways = 0;

  /// Adds the counts of the same site in another block.
  SiteProfile& operator+=(const SiteProfile& other);
  uint64_t bytes() const { return lanes * access_bytes; }
  uint64_t conflicts() const { return wavefronts - phases; }
  /// Distinct bytes wanted as a part of the bytes of the sectors touched; 0 for shared memory.
  double efficiency() const {
    return static_cast<double>(distinct_bytes) /
           static_cast<double>(std::max(sectors * 32, uint64_t{1}));
  }
};

/// One launch; the counts are those of the blocks that ran.
struct LaunchProfile {
  std::string kernel;
  dim3 grid, block;
  uint64_t shared_bytes = 0, blocks = 0, barriers = 0;
  /// Instructions of a warp by kind: accesses, cp.async, __syncthreads, each collective's opcode.
  std::map<std::string, uint64_t> instructions;
  std::vector<SiteProfile> sites;  // by file, line, column
};

/// From here on every launch is counted, until take_profile() ends it and returns the counts in the
/// order of the launches.
void start_profile();
std::vector<LaunchProfile> take_profile();

/// Counts a launch if a profile is being taken, else null.
std::unique_ptr<LaunchObserver> profile_observer(const LaunchInfo& launch);

}  // namespace cnnkern::emulator
