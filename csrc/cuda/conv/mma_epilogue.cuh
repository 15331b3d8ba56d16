// From a warp's sums to global memory, 16 bytes a store: bias, and what a fused convolution adds.
//
// An mma leaves two neighbours in a lane, so sums pass through shared memory, 16 rows of a warp at
// a time; there a lane finds the neighbours of a row that make 16 bytes (`chunk`). The 16 bytes of
// four sums are exchanged with their neighbours in every other row and in the upper half of a row:
// then neither the pairs that are written nor the fours that are read meet in a bank.
//
// Where rows follow each other at one distance and nothing is fused, all of a warp's stores are
// unrolled: a warp has few neighbours on its scheduler, so what hides the latency of one row is the
// next. Otherwise there is code for one slab and one row, in loops.
//
// An output type gives
//   int columns; const Element* bias (one a column, or null); Element* data
//   bool plain() const;            whether the first way will do, and chunks lie on 16 bytes; then
//   int rows() const; int64_t pitch() const;    the rows there are, and the elements between them
//   bool aligned;                  whether every chunk of columns lies on 16 bytes
//   int64_t row(int m) const;      offset of row m's first column in data, negative if none
//   void finish(int64_t at, Columns, float (&)[chunk]) const;   what follows once the bias is added
#pragma once

#include "cuda/conv/conv_bias_act.cuh"
#include "cuda/conv/implicit_gemm_mma.cuh"
#include "cuda/primitives/warp.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

/// Up to a chunk of neighbours; the rest counts as zero.
template <class Element>
struct Columns {
  bool whole;  // 16 aligned bytes
  int count;

  __device__ __forceinline__ void load(const Element* from, float (&to)[chunk<Element>]) const {
    Vector<Element, chunk<Element>> values{};
    if (whole) values = load_global_readonly<Vector<Element, chunk<Element>>>(from);
    else
#pragma unroll
      for (int c = 0; c < chunk<Element>; ++c)
        if (c < count) values[c] = load_global_readonly<Element>(from + c);
#pragma unroll
    for (int c = 0; c < chunk<Element>; ++c) to[c] = static_cast<float>(values[c]);
  }

  __device__ __forceinline__ void store(Element* to, const float (&from)[chunk<Element>]) const {
    Vector<Element, chunk<Element>> values;
#pragma unroll
    for (int c = 0; c < chunk<Element>; ++c) values[c] = Element(from[c]);
    if (whole) store_global(to, values);
    else
#pragma unroll
      for (int c = 0; c < chunk<Element>; ++c)
        if (c < count) store_global(to + c, values[c]);
  }
};

/// A warp's slab in shared memory, as a lane writes and reads it.
template <class Gemm>
struct Slab {
  using Element = typename Gemm::Element;
  static constexpr int pitch = Gemm::slab_pitch, together = chunk<Element>;
  static constexpr int lanes = Gemm::warp_n / together, rows = 32 / lanes;  // of a row; at a time
  float* data;
  int lane = lane_index(), read_row = lane / lanes, column = lane % lanes * together;

  /// Number u of a row's fours lies at u, or at u ^ 1 in odd rows or in the upper half of 64
  /// columns.
  __device__ __forceinline__ static int swapped(int row, int four) {
    return four ^ ((row ^ four / 8) & 1);
  }

  __device__ __forceinline__ void write(const typename Gemm::Mma::C (&sums)[Gemm::warp_n / 8]) {
    sync_warp(full_warp);  // the last slab has been read
#pragma unroll
    for (int j = 0; j < Gemm::warp_n / 8; ++j)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = lane / 4 + 8 * half, four = 2 * j + lane % 4 / 2;
        store_shared(data + row * pitch + swapped(row, four) * 4 + lane % 2 * 2,
                     Vector<float, 2>{sums[j][2 * half], sums[j][2 * half + 1]});
      }
    sync_warp(full_warp);
  }

  /// The lane's columns of row read_row + r.
  __device__ __forceinline__ void read(int r, const float (&bias)[together],
                                       float (&values)[together]) const {
#pragma unroll
    for (int j = 0; j < together / 4; ++j) {
      const int row = read_row + r, four = swapped(row, column / 4 + j);
      const auto loaded = load_shared<Vector<float, 4>>(data + row * pitch + four * 4);
#pragma unroll
      for (int c = 0; c < 4; ++c) values[4 * j + c] = loaded[c] + bias[4 * j + c];
    }
  }
};

template <class Gemm, class Output>
__device__ __forceinline__ void store_sums(typename Gemm::Shared& shared, const Output& output,
                                           int first_m, int first_n, typename Gemm::Sums& sums) {
  using Element = typename Gemm::Element;
  constexpr int slabs = Gemm::warp_m / Gemm::slab_rows, together = chunk<Element>;
  Slab<Gemm> slab{shared.slab[warp_index()]};
  const int n = first_n + Gemm::warp_column() + slab.column;
  const int m = first_m + Gemm::warp_row() + slab.read_row;
  const Columns<Element> own{output.aligned, min(together, output.columns - n)};
  float bias[together] = {};
  if (output.bias)  // at any address
    Columns<Element>{false, own.count}.load(output.bias + n, bias);

  if (output.plain()) {
    const int rows = n < output.columns ? output.rows() : 0;
#pragma unroll
    for (int i = 0; i < slabs; ++i) {
      slab.write(sums[i]);
#pragma unroll
      for (int r = 0; r < Gemm::slab_rows; r += slab.rows) {
        const int row = m + i * Gemm::slab_rows + r;
        float values[together];
        slab.read(r, bias, values);
        if (row < rows)
          Columns<Element>{true, together}.store(output.data + row * output.pitch() + n, values);
      }
    }
    return;
  }

  // One slab's code for all: the sums move up through the registers, which no loop can index.
#pragma unroll 1
  for (int i = 0; i < slabs; ++i) {
    slab.write(sums[0]);
#pragma unroll 1
    for (int r = 0; r < Gemm::slab_rows; r += slab.rows) {
      const int64_t begin = output.row(m + i * Gemm::slab_rows + r);
      if (begin < 0 || n >= output.columns) continue;
      float values[together];
      slab.read(r, bias, values);
      output.finish(begin + n, own, values);
      own.store(output.data + begin + n, values);
    }
#pragma unroll
    for (int up = 0; up + 1 < slabs; ++up)
#pragma unroll
      for (int j = 0; j < Gemm::warp_n / 8; ++j) sums[up][j] = sums[up + 1][j];
  }
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
