#include "cuda/conv/group_packing.h"

#include <algorithm>

#include "cuda/conv/conv_plan_mma.h"

namespace cnnkern {
namespace {

/// Of channels and filters, the fewer: more of them fill a tile's depth by themselves.
constexpr int64_t most_to_pack = 16;

}  // namespace

LayoutPass pack_groups(const ConvProblem& p, const DeviceCaps& device) {
  LayoutPass best = layout_pass(p);
  const int64_t narrow = std::min(p.c_per_group(), p.k_per_group());
  if (narrow < least_to_pack || narrow > most_to_pack) return best;
  if (splits_float32(p)) return best;  // a NaN is to stay in its group
  double fewest = modelled_cycles(best, device);
  for (int64_t packed = 2;
       packed <= p.groups && packed * p.c_per_group() <= layout_channels(size_of(p.dtype));
       ++packed) {
    if (p.groups % packed != 0) continue;
    const LayoutPass pass = layout_pass(p, packed);
    if (const double cycles = modelled_cycles(pass, device); cycles < fewest)
      best = pass, fewest = cycles;
  }
  return best;
}

}  // namespace cnnkern
