// A convolution as the GEMM that its kernels see. Pure host code.
#pragma once

#include <algorithm>

#include "common/ceil_div.h"
#include "common/conv_problem.h"
#include "cuda/conv/tile.h"

namespace cnnkern {

/// The GEMM of one group; dgrad is cut into one GEMM for each class of input pixels that have the
/// same remainder modulo the stride, all as large as the largest.
struct GemmView {
  int64_t rows, columns, depth, classes = 1;

  int64_t tiles(Tile tile) const { return ceil_div(rows, tile.m) * ceil_div(columns, tile.n); }
};

inline GemmView gemm_view(const ConvProblem& p) {
  const int64_t c = p.c_per_group(), k = p.k_per_group(), taps = p.filter.volume();
  switch (p.direction) {
    case ConvDirection::fprop: return {p.n * p.output.volume(), k, c * taps};
    case ConvDirection::wgrad: return {k, c * taps, p.n * p.output.volume()};
    default: break;
  }
  GemmView view{p.n, c, k * taps};
  for (int axis = 0; axis < 3; ++axis) {
    view.rows *= ceil_div(p.input[axis], p.stride[axis]);
    view.classes *= std::min(p.stride[axis], p.input[axis]);
  }
  return view;
}

}  // namespace cnnkern
