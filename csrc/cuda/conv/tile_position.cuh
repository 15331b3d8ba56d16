// Which tile of the result a block computes.
#pragma once

#include "common/launch.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

/// This block's tile: blocks run through the columns first, so that neighbours share rows of A.
struct TilePosition {
  int m, n;

  __device__ __forceinline__ TilePosition(int columns, int tile_m, int tile_n) {
    const int tiles_n = (columns + tile_n - 1) / tile_n, block = static_cast<int>(blockIdx.x);
    m = block / tiles_n * tile_m;
    n = block % tiles_n * tile_n;
  }
};

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
