// Brings tiles of one GEMM operand from global to shared memory.
//
// An operand is a matrix of `mn` rows (the GEMM's rows or columns) × `k` depth that lies nowhere as
// a matrix: each element's address comes from a convolution's geometry. An operand type gives
//
//   Element                       float or double
//   Row   row(int mn) const;      what depends on the row alone
//   Depth depth(int k) const;     what depends on the depth alone
//   Access<Element> access(Row, Depth) const;   its address, and whether it is no padding zero
//
// and the loader calls row() or depth() once for a coordinate it keeps and again only for the one
// that moves, so divisions stay out of the inner loop. Its memory runs along k or along mn, and its
// tile in shared memory runs the same way (Major), so that 16 global bytes are 16 shared bytes: no
// operand is ever transposed, and cp.async serves them all.
//   Major::k    rows of k elements, swizzled: [mn][k]
//   Major::mn   rows of mn elements, doubles swizzled: [k][mn]
// From sm_80 on a tile travels by cp.async; before, through registers, loaded ahead and stored
// late.
#pragma once

#include "cuda/conv/tile.h"
#include "cuda/primitives/cp_async.cuh"
#include "cuda/primitives/ldst.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

/// Where depth k of a row lies in a k-major tile. Of floats, eight threads read 16 bytes of eight
/// neighbouring rows: of rows of 32 bytes the first and the fifth would meet in one group of banks,
/// so in every second four rows the two halves change places. Of doubles, four threads read
/// neighbours in each of four neighbouring rows of 64 bytes, or one in every second row: rows that
/// would meet have their pairs in another order.
template <class Element, int tile_k>
__device__ __forceinline__ constexpr int k_major_place(int row, int k) {
  static_assert(tile_k == 8);
  const int key = sizeof(Element) == 4 ? row & 4 : (row & 2) * 2 | (row & 4) / 2;
  return row * tile_k + (k ^ key);
}

/// The same in an mn-major tile: of doubles, four threads read neighbours at each of four depths.
template <class Element, int tile_mn>
__device__ __forceinline__ constexpr int mn_major_place(int k, int mn) {
  return k * tile_mn + (sizeof(Element) == 4 ? mn : mn ^ k % 4 * 4);
}

template <class Element>
struct Access {
  const Element* address;
  bool valid;
};

template <class Operand, Major major, int vector, int tile_mn, int tile_k, int threads>
class TileLoader {
  static constexpr bool along_k = major == Major::k;
  // `line` neighbouring threads load neighbouring vectors of one shared row, at most a warp, so
  // that the coordinate across is the same for all of them.
  static constexpr int row_vectors = (along_k ? tile_k : tile_mn) / vector;
  static constexpr int line = row_vectors < 32 ? row_vectors : 32;
  static constexpr int step = threads / line;  // shared rows between a thread's vectors
  // A thread's vectors: rows × depths.
  static constexpr int rows = along_k ? tile_mn / step : row_vectors / line;
  static constexpr int depths = along_k ? 1 : tile_k / step;
  static_assert(rows * depths * vector * threads == tile_mn * tile_k);

  using Element = typename Operand::Element;
  using Piece = Vector<Element, vector>;

 public:
  /// first_mn: the tile's first row; k_begin: its first depth.
  __device__ __forceinline__ TileLoader(const Operand& operand, int first_mn, int k_begin)
      : operand_(operand),
        across_(static_cast<int>(threadIdx.x) / line),
        along_(static_cast<int>(threadIdx.x) % line * vector),
        k_(k_begin + (along_k ? along_ : across_)) {
#pragma unroll
    for (int i = 0; i < rows; ++i)
      rows_[i] =
          operand.row(first_mn + (along_k ? across_ + i * step : along_ + i * line * vector));
  }

#if CNNKERN_ARCH >= 800
  /// Starts copying the next tile, if there are `more`. The addresses are computed in any case:
  /// without a branch the compiler spreads that over the FMAs.
  __device__ __forceinline__ void copy_async(Element* tile, bool more) {
    visit([&](int i, int j, Access<Element> from) {
      if (!more) return;
      if constexpr (sizeof(Piece) == 16) cp_async_16(tile + place(i, j), from.address, from.valid);
      else if constexpr (sizeof(Piece) == 8)
        cp_async_8(tile + place(i, j), from.address, from.valid);
      else cp_async_4(tile + place(i, j), from.address, from.valid);
    });
  }
#else
  /// Loads the next tile into registers.
  __device__ __forceinline__ void load() {
    visit([&](int i, int j, Access<Element> from) {
      staged_[i][j] = load_global_or_zero<Piece>(from.address, from.valid);
    });
  }

  /// Stores the loaded tile.
  __device__ __forceinline__ void store(Element* tile) const {
#pragma unroll
    for (int j = 0; j < depths; ++j)
#pragma unroll
      for (int i = 0; i < rows; ++i) store_shared(tile + place(i, j), staged_[i][j]);
  }
#endif

 private:
  /// Where the vector of the thread's i-th row and j-th depth lies in the tile.
  __device__ __forceinline__ int place(int i, int j) const {
    return along_k
               ? k_major_place<Element, tile_k>(across_ + i * step, along_)
               : mn_major_place<Element, tile_mn>(across_ + j * step, along_ + i * line * vector);
  }

  // Calls body(i, j, access) for each of the thread's vectors of this tile; moves on to the next.
  template <class Body>
  __device__ __forceinline__ void visit(Body&& body) {
#pragma unroll
    for (int j = 0; j < depths; ++j) {
      const auto depth = operand_.depth(k_ + j * step);
#pragma unroll
      for (int i = 0; i < rows; ++i) body(i, j, operand_.access(rows_[i], depth));
    }
    k_ += tile_k;
  }

  const Operand& operand_;
  int across_, along_, k_;
  decltype(operand_.row(0)) rows_[rows];
#if CNNKERN_ARCH < 800
  Piece staged_[rows][depths];
#endif
};

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
