// Into how many parts a GEMM's depth is cut, so that few tiles with a long depth fill a device.
//
// A model, not a measurement: cycles of the busiest multiprocessor. Its blocks share its rate, and
// one alone has too few warps to use it; the parts are written, read again and added up by a second
// kernel. The depth is cut only where that is modelled faster than leaving it whole.
#pragma once

#include "common/conv_problem.h"
#include "common/device_caps.h"
#include "cuda/conv/tile.h"

namespace cnnkern {

struct SplitK {
  int parts = 1;
  double cycles = 0;        // modelled
  double whole_cycles = 0;  // the same with one part
};

/// What a sum takes in the workspace.
constexpr int64_t sum_bytes(DType dtype) { return dtype == DType::float64 ? 8 : 4; }

/// One part in the other directions.
SplitK split_wgrad(Tile tile, bool tensor_cores, const ConvProblem& problem,
                   const DeviceCaps& device);

}  // namespace cnnkern
