// The element of kernels that multiply float32 on tensor cores without rounding it to tf32: each
// number as the sum of two, three products for one (mma_tile.cuh).
#pragma once

#include "common/dtype.h"

namespace cnnkern {

/// A float32; tensors are of float.
struct tf32x3 {
  float value;

  tf32x3() = default;
  CNNKERN_HOST_DEVICE explicit tf32x3(float number) : value(number) {}
  CNNKERN_HOST_DEVICE explicit operator float() const { return value; }
};

}  // namespace cnnkern
