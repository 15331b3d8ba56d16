// Where an element of a dense tensor lies: element strides in either layout.
#pragma once

#include "common/conv_problem.h"

namespace cnnkern::cpu {

/// Strides of N × C × D × H × W, or of a weight K × C/G × T × R × S read the same way.
struct Strides {
  int64_t n, c;
  Extent3 space;

  int64_t at(int64_t n_, int64_t c_, int64_t d, int64_t h, int64_t w) const {
    return n_ * n + c_ * c + d * space.d + h * space.h + w * space.w;
  }
};

inline Strides dense_strides(Layout layout, int64_t channels, const Extent3& extent) {
  const int64_t volume = extent.volume(), pixel = layout == Layout::nchw ? 1 : channels;
  return {channels * volume,
          layout == Layout::nchw ? volume : 1,
          {extent.h * extent.w * pixel, extent.w * pixel, pixel}};
}

}  // namespace cnnkern::cpu
