// Warp tiles on the tensor cores: how operands lie in shared memory, how fragments leave it, and
// how they are multiplied (float16 from sm_75 on; bfloat16 and, rounded to tf32 or as the sum of
// two tf32, float from sm_80 on).
//
// An operand's tile is lines of 16-byte chunks. Neighbours along a line are neighbours in global
// memory, so one cp.async fills a chunk and no operand is ever transposed in memory:
//   Major::k    a line is one row (or column) of the GEMM, k of its depth:  [mn][k]
//   Major::mn   a line is one depth, mn of its rows (or columns):           [k][mn]
// ldmatrix takes eight chunks at a time, the same one of eight neighbouring lines, which would all
// lie in the same banks; so a chunk's place in its line is its number XOR a key that follows from
// the line. The eight lines then cover all 32 banks, and so do the eight chunks that a quarter of a
// warp writes. ldmatrix hands out k-major operands as mma wants them, and mn-major ones transposed.
// To ldmatrix a float is a pair of 16-bit elements: k-major it hands them out as mma wants them,
// but it cannot transpose them. Of mn-major floats each lane loads its own: a warp eight neighbours
// of four lines, for which the key moves whole eights, so that they too cover all banks.
// Source: CUTLASS's "tensor op multiplicand" layouts; PTX ISA, "ldmatrix" and "mma".
#pragma once

#include "cuda/conv/tf32x3.h"
#include "cuda/conv/tile.h"
#include "cuda/primitives/ldmatrix.cuh"
#include "cuda/primitives/mma.cuh"
#include "cuda/primitives/warp.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

/// Elements in 16 bytes.
template <class Element>
inline constexpr int chunk = 16 / sizeof(Element);

template <class Element>
struct MmaOf;
template <>
struct MmaOf<float16> {
  using type = std::conditional_t<CNNKERN_ARCH >= 800, Mma16x8x16F16, Mma16x8x8F16>;
};
template <>
struct MmaOf<bfloat16> {
  using type = Mma16x8x16Bf16;
};
template <>
struct MmaOf<float> {
  using type = Mma16x8x8Tf32;
};
template <>
struct MmaOf<tf32x3> {
  using type = Mma16x8x8Tf32;
};

/// Whether this pass compiles for an architecture that multiplies such elements.
template <class Element>
inline constexpr bool has_mma_of = has_mma<typename MmaOf<Element>::type>;

/// An operand's tile in shared memory.
template <class Element_, Major major, int tile_mn, int tile_k>
struct SwizzledTile {
  using Element = Element_;
  static constexpr int lines = major == Major::k ? tile_mn : tile_k;
  static constexpr int length = major == Major::k ? tile_k : tile_mn;
  static constexpr int chunks = length / chunk<Element>;
  static_assert(chunks == 4 || chunks % 8 == 0);

  alignas(128) Element data[lines * length];

  static constexpr bool transposed_floats = major == Major::mn && sizeof(Element) == 4;
  /// Lines so far apart have the same key.
  static constexpr int same_key = transposed_floats ? 4 : 8;

  /// Where a chunk lies. Two lines of 64 bytes share 128 bytes, hence their key.
  CNNKERN_HOST_DEVICE static constexpr int place(int line, int chunk_in_line) {
    const int key = transposed_floats ? line % 4 * 2 : chunks == 4 ? line / 2 % 4 : line % 8;
    return line * length + (chunk_in_line ^ key) * chunk<Element>;
  }
};

enum class Side { a, b };

/// A float's bits, rounded to the nearest tf32 (ties away from zero) as far as an mma reads them:
/// half a step of its binade is added to it, and the mma drops the low bits. As cvt.rna, in two
/// instructions instead of four, except that numbers below 2^-126 are cut; a NaN stays one whatever
/// its bits, which adding to these would not see to.
__device__ __forceinline__ unsigned nearest_tf32(unsigned bits) {
  constexpr unsigned sign_and_exponent = 0xff800000;
  const float binade = std::bit_cast<float>(bits & sign_and_exponent);
  return std::bit_cast<unsigned>(fmaf(binade, 0x1p-11f, std::bit_cast<float>(bits)));
}

/// What was loaded from shared memory, as mma wants it.
template <class Element>
__device__ __forceinline__ Vector<unsigned, 4> to_operand(Vector<unsigned, 4> loaded) {
  if constexpr (std::is_same_v<Element, float>)
#pragma unroll
    for (int r = 0; r < 4; ++r) loaded[r] = nearest_tf32(loaded[r]);
  return loaded;
}

/// Loads a warp's fragments of one operand, four matrices of eight chunks at a time: a block of 16
/// rows (or columns) × 2 chunks of depths, or of 32 × 1. The registers of neighbouring mmas follow
/// each other.
template <class Element, Side side, Major major, int tile_mn, int tile_k>
class FragmentLoader {
 public:
  static constexpr int depths = MmaOf<Element>::type::k, depth_chunks = depths / chunk<Element>;
  static constexpr int block_mn = 32 / depth_chunks;
  using Tile = SwizzledTile<Element, major, tile_mn, tile_k>;

  /// first_mn: the warp's first row (or column) in the tile, a multiple of 32.
  __device__ __forceinline__ explicit FragmentLoader(int first_mn) {
    if (Tile::transposed_floats) {
      const int mn = first_mn + lane_index() / 4;
      place_ = Tile::place(lane_index() % 4, mn / 4) + mn % 4;
      return;
    }
    // Lanes 8·i to 8·i + 7 name the lines of matrix i: where it lies in the block, in eights. The
    // four go along the rows first in A, along the depth first in B.
    const int i = lane_index() / 8, mn = eight_of(i), depth = depth_chunk_of(i);
    const int line = (major == Major::k ? mn : depth) * 8 + lane_index() % 8;
    place_ = major == Major::k ? Tile::place(line, depth) + first_mn * tile_k
                               : Tile::place(line, first_mn / chunk<Element> + mn);
  }

  /// Eight or more lines further on the key is the same, and chunks further on a bit of the place
  /// differs, so all blocks follow from the first.
  __device__ __forceinline__ Vector<unsigned, 4> load(const Tile& tile, int block, int step) const {
    if constexpr (Tile::transposed_floats) return load_singly(tile, block, step);
    else if constexpr (major == Major::k)
      return to_operand<Element>(
          ldmatrix<4>(tile.data + (place_ ^ (step * depths)) + block * block_mn * tile_k));
    else
      return ldmatrix_transposed<4>(tile.data + (place_ ^ (block * block_mn)) +
                                    step * depths * tile_mn);
  }

 private:
  /// Which eight rows (or columns) of the block matrix i has, and which chunk of its depths.
  CNNKERN_HOST_DEVICE static constexpr int eight_of(int i) {
    return depth_chunks == 1 ? i : side == Side::a ? i % 2 : i / 2;
  }
  CNNKERN_HOST_DEVICE static constexpr int depth_chunk_of(int i) {
    return depth_chunks == 1 ? 0 : side == Side::a ? i / 2 : i % 2;
  }

  /// The same four matrices, of which each lane knows its elements. The key moves the lower two
  /// bits of an eight's number; what is above is added, which takes no register.
  __device__ __forceinline__ Vector<unsigned, 4> load_singly(const Tile& tile, int block,
                                                             int step) const {
    Vector<unsigned, 4> loaded;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int mn = block * block_mn + eight_of(i) * 8;
      const int depth = step * depths + depth_chunk_of(i) * chunk<Element>;
      loaded[i] =
          load_shared<unsigned>(tile.data + (place_ ^ mn % 32) + mn / 32 * 32 + depth * tile_mn);
    }
    return to_operand<Element>(loaded);
  }

  int place_;
};

/// What a warp holds of both operands for the depths of an mma.
template <class Element, int warp_m, int warp_n>
struct Fragments {
  using Mma = typename MmaOf<Element>::type;
  static constexpr int depth_bytes = Mma::k * sizeof(typename Mma::Element);
  Vector<unsigned, 4> a[warp_m * depth_bytes / 512], b[warp_n * depth_bytes / 512];
};

/// The operand of the i-th mma along a side.
template <class Operand>
__device__ __forceinline__ Operand fragment(const Vector<unsigned, 4>* blocks, int i) {
  constexpr int registers = sizeof(Operand) / sizeof(unsigned);
  Operand operand;
#pragma unroll
  for (int r = 0; r < registers; ++r) {
    const int at = i * registers + r;
    operand[r] = blocks[at / 4][at % 4];
  }
  return operand;
}

/// A warp's sums: [i][j][c] is element c of the mma at rows 16·i and columns 8·j.
template <class Mma, int warp_m, int warp_n>
using WarpSums = typename Mma::C[warp_m / 16][warp_n / 8];

template <class Element, int warp_m, int warp_n>
__device__ __forceinline__ void multiply_fragments(
    const Fragments<Element, warp_m, warp_n>& fragments,
    WarpSums<typename MmaOf<Element>::type, warp_m, warp_n>& sums) {
  using Mma = typename MmaOf<Element>::type;
#pragma unroll
  for (int i = 0; i < warp_m / 16; ++i)
#pragma unroll
    for (int j = 0; j < warp_n / 8; ++j)
      sums[i][j] = mma<Mma>(fragment<typename Mma::A>(fragments.a, i),
                            fragment<typename Mma::B>(fragments.b, j), sums[i][j]);
}

/// A float32 as the sum of two tf32, to 2^-23 of it: the nearest, and what that leaves, of which an
/// mma cuts the last bit. An infinity is ±1 and itself, so that it meets no zero but the other
/// operand's; of a NaN at least what is left is one.
__device__ __forceinline__ void split(unsigned bits, unsigned& high, unsigned& low) {
  const unsigned rounded = bits + 0x1000u;
  const bool finite = fabsf(std::bit_cast<float>(rounded)) < INFINITY;
  high = rounded & (finite ? 0xffffe000u : 0xbf800000u);
  low = std::bit_cast<unsigned>(std::bit_cast<float>(bits) - std::bit_cast<float>(high));
}

template <class Operand>
__device__ __forceinline__ void split(const Operand& whole, Operand& high, Operand& low) {
#pragma unroll
  for (int r = 0; r < int{sizeof(Operand) / sizeof(unsigned)}; ++r)
    split(whole[r], high[r], low[r]);
}

/// Three products for one: low · high + high · low + high · high, the small ones first; the fourth
/// is below a float's last bit. Tensor cores cut what they add, always towards zero, so a sum over
/// the whole depth would drift: of each mma's depths it is begun anew, and added up by the FP32
/// units, which round. Source: Ootomo and Yokota, "Recovering single precision accuracy from Tensor
/// Cores while surpassing the FP32 theoretical peak performance" (2022).
template <int warp_m, int warp_n>
__device__ __forceinline__ void multiply_fragments(
    const Fragments<tf32x3, warp_m, warp_n>& fragments,
    WarpSums<MmaOf<tf32x3>::type, warp_m, warp_n>& sums) {
  using Mma = MmaOf<tf32x3>::type;
  constexpr int count_n = warp_n / 8;
  typename Mma::B b_high[count_n], b_low[count_n];
#pragma unroll
  for (int j = 0; j < count_n; ++j)
    split(fragment<typename Mma::B>(fragments.b, j), b_high[j], b_low[j]);
#pragma unroll
  for (int i = 0; i < warp_m / 16; ++i) {
    typename Mma::A high, low;
    split(fragment<typename Mma::A>(fragments.a, i), high, low);
    typename Mma::C parts[count_n] = {};
#pragma unroll
    for (int j = 0; j < count_n; ++j) parts[j] = mma<Mma>(low, b_high[j], parts[j]);
#pragma unroll
    for (int j = 0; j < count_n; ++j) parts[j] = mma<Mma>(high, b_low[j], parts[j]);
#pragma unroll
    for (int j = 0; j < count_n; ++j) parts[j] = mma<Mma>(high, b_high[j], parts[j]);
#pragma unroll
    for (int j = 0; j < count_n; ++j)
#pragma unroll
      for (int c = 0; c < 4; ++c) sums[i][j][c] += parts[j][c];
  }
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
