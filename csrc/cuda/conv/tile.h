// The sizes of a tiled kernel, known to its plan on the host and to the kernel itself.
#pragma once

#include <cstdint>

namespace cnnkern {

/// One block computes m rows × n columns of the GEMM, k of its depth at a time.
struct Tile {
  int m = 0, n = 0, k = 0;
};

/// What is contiguous in an operand of a GEMM: its depth, or its rows (columns, for B).
enum class Major { k, mn };

/// implicit_gemm_simt: 16 × (n/8) threads, each with m/16 rows and 8 columns; implicit_gemm_f64:
/// as many, in warps of 32 × 32. (The kernels' launch
/// bounds spell this out: nvcc drops, silently, a bound that calls a function of template
/// arguments.)
constexpr int simt_threads(Tile tile) { return 16 * (tile.n / 8); }

/// K tiles in flight: cp.async (sm_80 on) fills a ring of four; before, two buffers take turns.
constexpr int simt_stages(int arch) { return arch >= 80 ? 4 : 2; }

constexpr int64_t simt_shared_bytes(Tile tile, int arch, int64_t element_bytes = 4) {
  return element_bytes * simt_stages(arch) * (tile.m + tile.n) * tile.k;
}

/// Tensor-core tiles: warps of 64 × 64, or 64 × 32 in tiles with a side of 64, and a ring of three
/// stages, or before sm_80 two. Operands that are split (tf32x3.h) take twice the registers: there
/// a warp takes 32 × 32.
constexpr int mma_stages(int arch) { return arch >= 80 ? 3 : 2; }
constexpr int mma_warp_n(Tile tile) { return tile.m >= 128 && tile.n >= 128 ? 64 : 32; }
constexpr int mma_warp_m(bool splits) { return splits ? 32 : 64; }
constexpr int mma_threads(Tile tile, bool splits = false) {
  return 32 * (tile.m / mma_warp_m(splits)) * (tile.n / mma_warp_n(tile));
}
constexpr int64_t mma_shared_bytes(Tile tile, int arch, int64_t element_bytes) {
  return element_bytes * mma_stages(arch) * (tile.m + tile.n) * tile.k;
}

/// first_layer_wgrad: also eight bytes for each pixel of two tiles, in each warp.
constexpr int64_t first_layer_wgrad_shared_bytes(Tile tile, int arch) {
  return mma_shared_bytes(tile, arch, 2) + int64_t{16} * (mma_threads(tile) / 32) * tile.k;
}

}  // namespace cnnkern
