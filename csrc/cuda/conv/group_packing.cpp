#include "cuda/conv/group_packing.h"

#include <algorithm>

#include "cuda/conv/conv_plan_mma.h"

namespace cnnkern {
namespace {

/// Of channels and filters, the fewer: more of them fill a tile's depth by themselves.
constexpr int64_t most_to_pack = 16;
// Round figures as in split_k.cpp: a second kernel's start, and what one multiprocessor moves.
constexpr double start_cycles = 3000, bytes_per_cycle = 16;

double modelled_cycles(const LayoutPass& pass, const DeviceCaps& device) {
  return fewest_mma_cycles(pass.problem, device) + pass.kernels() * start_cycles +
         static_cast<double>(pass.moved_bytes) / (bytes_per_cycle * device.multiprocessors);
}

}  // namespace

LayoutPass pack_groups(const ConvProblem& p, const DeviceCaps& device) {
  LayoutPass best = layout_pass(p);
  const int64_t narrow = std::min(p.c_per_group(), p.k_per_group());
  if (narrow < least_to_pack || narrow > most_to_pack) return best;
  double fewest = modelled_cycles(best, device);
  for (int64_t packed = 2; packed <= p.groups && packed * p.c_per_group() <= layout_tile;
       ++packed) {
    if (p.groups % packed != 0) continue;
    const LayoutPass pass = layout_pass(p, packed);
    if (const double cycles = modelled_cycles(pass, device); cycles < fewest)
      best = pass, fewest = cycles;
  }
  return best;
}

}  // namespace cnnkern
