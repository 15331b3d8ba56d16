// Warp tiles on the tensor cores: how 16-bit operands lie in shared memory, how fragments leave it,
// and how they are multiplied (sm_80 on).
//
// An operand's tile is lines of 16-byte chunks. Neighbours along a line are neighbours in global
// memory, so one cp.async fills a chunk and no operand is ever transposed in memory:
//   Major::k    a line is one row (or column) of the GEMM, k of its depth:  [mn][k]
//   Major::mn   a line is one depth, mn of its rows (or columns):           [k][mn]
// ldmatrix takes eight chunks at a time, the same one of eight neighbouring lines, which would all
// lie in the same banks; so a chunk's place in its line is its number XOR a key that follows from
// the line. The eight lines then cover all 32 banks, and so do the eight chunks that a quarter of a
// warp writes. ldmatrix hands out k-major operands as mma wants them, and mn-major ones transposed.
// Source: CUTLASS's "tensor op multiplicand" layouts; PTX ISA, "ldmatrix" and "mma".
#pragma once

#include "cuda/conv/tile.h"
#include "cuda/primitives/ldmatrix.cuh"
#include "cuda/primitives/mma.cuh"
#include "cuda/primitives/warp.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

inline constexpr int chunk = 8;  // elements in 16 bytes

template <class Element>
struct MmaOf;
template <>
struct MmaOf<float16> {
  using type = Mma16x8x16F16;
};
template <>
struct MmaOf<bfloat16> {
  using type = Mma16x8x16Bf16;
};

/// An operand's tile in shared memory.
template <class Element_, Major major, int tile_mn, int tile_k>
struct SwizzledTile {
  using Element = Element_;
  static constexpr int lines = major == Major::k ? tile_mn : tile_k;
  static constexpr int length = major == Major::k ? tile_k : tile_mn;
  static constexpr int chunks = length / chunk;
  static_assert(sizeof(Element) == 2 && (chunks == 4 || chunks % 8 == 0));

  alignas(128) Element data[lines * length];

  /// Where a chunk lies. Two lines of 64 bytes share 128 bytes, hence their key.
  CNNKERN_HOST_DEVICE static constexpr int place(int line, int chunk_in_line) {
    const int key = chunks == 4 ? line / 2 % 4 : line % 8;
    return line * length + (chunk_in_line ^ key) * chunk;
  }
};

enum class Side { a, b };

/// Loads a warp's fragments of one operand, a block of 16 rows (or columns) × 16 depths each:
/// registers 0 to 3 are an mma's A, or 0, 1 and 2, 3 two mmas' B.
template <class Element, Side side, Major major, int tile_mn, int tile_k>
class FragmentLoader {
  // The four 8 × 8 matrices go along the rows first in A, along the depth first in B.
  static constexpr bool lines_first = (side == Side::a) == (major == Major::k);

 public:
  using Tile = SwizzledTile<Element, major, tile_mn, tile_k>;

  /// first_mn: the warp's first row (or column) in the tile, a multiple of 32.
  __device__ __forceinline__ explicit FragmentLoader(int first_mn) {
    const int lane = lane_index();
    const int line = lines_first ? lane % 16 : lane / 16 * 8 + lane % 8;
    const int at = lines_first ? lane / 16 : lane / 8 % 2;
    place_ = major == Major::k ? Tile::place(line, at) + first_mn * tile_k
                               : Tile::place(line, first_mn / chunk + at);
  }

  /// 16 lines further on the key is the same, and two chunks further on one bit of the place
  /// differs, so all blocks follow from the first.
  __device__ __forceinline__ Vector<unsigned, 4> load(const Tile& tile, int block, int step) const {
    if constexpr (major == Major::k)
      return ldmatrix<4>(tile.data + (place_ ^ (step * 16)) + block * 16 * tile_k);
    else return ldmatrix_transposed<4>(tile.data + (place_ ^ (block * 16)) + step * 16 * tile_mn);
  }

 private:
  int place_;
};

/// What a warp holds of both operands for 16 depths.
template <int warp_m, int warp_n>
struct Fragments {
  Vector<unsigned, 4> a[warp_m / 16], b[warp_n / 16];
};

/// A warp's sums: [i][j][c] is element c of the mma at rows 16·i and columns 8·j.
template <class Mma, int warp_m, int warp_n>
using WarpSums = typename Mma::C[warp_m / 16][warp_n / 8];

template <class Mma, int warp_m, int warp_n>
__device__ __forceinline__ void multiply_fragments(const Fragments<warp_m, warp_n>& fragments,
                                                   WarpSums<Mma, warp_m, warp_n>& sums) {
#pragma unroll
  for (int i = 0; i < warp_m / 16; ++i)
#pragma unroll
    for (int j = 0; j < warp_n / 8; ++j) {
      const auto& pair = fragments.b[j / 2];
      const typename Mma::B b{pair[j % 2 * 2], pair[j % 2 * 2 + 1]};
      sums[i][j] = mma<Mma>(fragments.a[i], b, sums[i][j]);
    }
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
