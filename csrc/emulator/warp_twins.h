// Twins of csrc/cuda/primitives/warp.cuh: each collective is a rendezvous of the lanes in its mask.
#pragma once

#include <cstring>

#include "emulator/device.h"

namespace cnnkern::emulator {

inline int lane_index() { return static_cast<int>(threadIdx.x) & 31; }
inline int warp_index() { return static_cast<int>(threadIdx.x) >> 5; }

template <class T>
struct ShuffleOperands {
  T value;
  int source;  // the lane to read
  T result;
};

template <class T>
T exchange(unsigned mask, const char* opcode, T value, int source, Site site) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  ShuffleOperands<T> own{value, source, {}};
  const Complete complete = [](void* const* operands, unsigned present) {
    for (int lane = 0; lane < 32; ++lane) {
      if (!(present >> lane & 1)) continue;
      auto& reader = *static_cast<ShuffleOperands<T>*>(operands[lane]);
      if (present >> reader.source & 1)
        reader.result = static_cast<ShuffleOperands<T>*>(operands[reader.source])->value;
      else std::memset(&reader.result, 0xff, sizeof(T));  // undefined on hardware: NaN here
    }
  };
  rendezvous(mask, opcode, &own, complete, site);
  return own.result;
}

template <class T>
T shuffle(unsigned mask, T value, int lane, Site site = Site::current()) {
  return exchange(mask, "shuffle", value, lane & 31, site);
}

template <class T>
T shuffle_down(unsigned mask, T value, int delta, Site site = Site::current()) {
  const int lane = lane_index();
  return exchange(mask, "shuffle_down", value, lane + delta < 32 ? lane + delta : lane, site);
}

template <class T>
T shuffle_up(unsigned mask, T value, int delta, Site site = Site::current()) {
  const int lane = lane_index();
  return exchange(mask, "shuffle_up", value, lane >= delta ? lane - delta : lane, site);
}

template <class T>
T shuffle_xor(unsigned mask, T value, int lane_mask, Site site = Site::current()) {
  return exchange(mask, "shuffle_xor", value, (lane_index() ^ lane_mask) & 31, site);
}

// Bit i of the result is lane i's predicate.
inline unsigned vote(unsigned mask, const char* opcode, bool predicate, Site site) {
  unsigned own = predicate;
  const Complete complete = [](void* const* operands, unsigned present) {
    unsigned votes = 0;
    for (int lane = 0; lane < 32; ++lane)
      if (present >> lane & 1) votes |= *static_cast<unsigned*>(operands[lane]) << lane;
    for (int lane = 0; lane < 32; ++lane)
      if (present >> lane & 1) *static_cast<unsigned*>(operands[lane]) = votes;
  };
  rendezvous(mask, opcode, &own, complete, site);
  return own;
}

inline unsigned ballot(unsigned mask, bool predicate, Site site = Site::current()) {
  return vote(mask, "ballot", predicate, site);
}

inline bool any(unsigned mask, bool predicate, Site site = Site::current()) {
  return vote(mask, "any", predicate, site) != 0;
}

inline bool all(unsigned mask, bool predicate, Site site = Site::current()) {
  return vote(mask, "all", predicate, site) == mask;
}

inline void sync_warp(unsigned mask, Site site = Site::current()) {
  rendezvous(mask, "sync_warp", nullptr, [](void* const*, unsigned) {}, site);
}

}  // namespace cnnkern::emulator
