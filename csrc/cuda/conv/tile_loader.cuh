// Brings tiles of one GEMM operand from global to shared memory.
//
// An operand is a matrix of `mn` rows (the GEMM's rows or columns) × `k` depth that lies nowhere as
// a matrix: each element's address comes from a convolution's geometry. An operand type gives
//
//   Row   row(int mn) const;      what depends on the row alone
//   Depth depth(int k) const;     what depends on the depth alone
//   Access access(Row, Depth) const;   the element's address, and whether it is not a padding zero
//
// and the loader calls row() or depth() once for a coordinate it keeps and again only for the one
// that moves, so divisions stay out of the inner loop. Its memory runs along k or along mn, and its
// tile in shared memory runs the same way (Major), so that 16 global bytes are 16 shared bytes: no
// operand is ever transposed, and cp.async serves them all.
//   Major::k    rows of k floats, pitch k + 4: [mn][k]
//   Major::mn   rows of mn floats: [k][mn]
// From sm_80 on a tile travels by cp.async; before, through registers, loaded ahead and stored
// late.
#pragma once

#include "cuda/conv/tile.h"
#include "cuda/primitives/cp_async.cuh"
#include "cuda/primitives/ldst.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

enum class Major { k, mn };

struct Access {
  const float* address;
  bool valid;
};

template <class Operand, Major major, int vector, int tile_mn, int tile_k, int threads>
class TileLoader {
  static constexpr bool along_k = major == Major::k;
  static constexpr int pitch = along_k ? tile_k + 4 : tile_mn;
  static constexpr int line = (along_k ? tile_k : tile_mn) / vector;  // vectors of one shared row
  static constexpr int step = threads / line;  // shared rows between a thread's vectors
  static constexpr int count = tile_mn * tile_k / vector / threads;
  static_assert(threads % line == 0 && count >= 1);
  static constexpr int rows = along_k ? count : 1, depths = along_k ? 1 : count;

  using Piece = Vector<float, vector>;

 public:
  /// first_mn: the tile's first row; k_begin: its first depth.
  __device__ __forceinline__ TileLoader(const Operand& operand, int first_mn, int k_begin)
      : operand_(operand),
        first_(static_cast<int>(threadIdx.x) / line),
        along_(static_cast<int>(threadIdx.x) % line * vector),
        k_(k_begin + (along_k ? along_ : first_)) {
#pragma unroll
    for (int i = 0; i < rows; ++i)
      rows_[i] = operand.row(first_mn + (along_k ? first_ + i * step : along_));
  }

#if CNNKERN_ARCH >= 800
  /// Starts copying the next tile.
  __device__ __forceinline__ void copy_async(float* tile) {
    visit([&](int i, Access from) {
      float* to = tile + (first_ + i * step) * pitch + along_;
      if constexpr (vector == 4) cp_async_16(to, from.address, from.valid);
      else cp_async_4(to, from.address, from.valid);
    });
  }
#else
  /// Loads the next tile into registers.
  __device__ __forceinline__ void load() {
    visit([&](int i, Access from) {
      staged_[i] = from.valid ? load_global_readonly<Piece>(from.address) : Piece{};
    });
  }

  /// Stores the loaded tile.
  __device__ __forceinline__ void store(float* tile) const {
#pragma unroll
    for (int i = 0; i < count; ++i)
      store_shared(tile + (first_ + i * step) * pitch + along_, staged_[i]);
  }
#endif

 private:
  // Calls body(i, access) for each of the thread's vectors of this tile; moves on to the next tile.
  template <class Body>
  __device__ __forceinline__ void visit(Body&& body) {
#pragma unroll
    for (int j = 0; j < depths; ++j) {
      const auto depth = operand_.depth(k_ + j * step);
#pragma unroll
      for (int i = 0; i < rows; ++i) body(i + j, operand_.access(rows_[i], depth));
    }
    k_ += tile_k;
  }

  const Operand& operand_;
  int first_, along_, k_;
  decltype(operand_.row(0)) rows_[rows];
#if CNNKERN_ARCH < 800
  Piece staged_[count];
#endif
};

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
