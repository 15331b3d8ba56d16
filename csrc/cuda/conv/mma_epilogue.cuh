// From a warp's sums to global memory, 16 bytes a store: bias, and what a fused convolution adds.
//
// An mma leaves two neighbours in a lane, so sums pass through shared memory, 16 rows of a warp at
// a time; there a lane finds the neighbours of a row that make 16 bytes (`chunk`). The 16 bytes of
// four sums are exchanged with their neighbours in every other row and in the upper half of a row:
// then neither the pairs that are written nor the fours that are read meet in a bank.
//
// An output type gives
//   int64_t row(int m) const;      offset of row m's first column in data, negative if none
//   int columns; const Element* bias (one a column, or null); Element* data
//   bool aligned;                  whether every chunk of columns lies on 16 bytes
//   void finish(int64_t at, Columns, float (&)[chunk]) const;   what follows once the bias is added
#pragma once

#include "cuda/conv/conv_bias_act.cuh"
#include "cuda/conv/implicit_gemm_mma.cuh"

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

template <class Gemm, class Output>
__device__ __forceinline__ void store_sums(typename Gemm::Shared& shared, const Output& output,
                                           int first_m, int first_n, typename Gemm::Sums& sums) {
  using Element = typename Gemm::Element;
  using Four = Vector<float, 4>;
  constexpr int pitch = Gemm::slab_pitch, slabs = Gemm::warp_m / Gemm::slab_rows;
  constexpr int together = chunk<Element>;
  constexpr int lanes = Gemm::warp_n / together, rows = 32 / lanes;  // lanes a row, rows at a time
  float* slab = shared.slab[warp_index()];
  const int lane = lane_index(), write_row = lane / 4, read_row = lane / lanes;
  // Fours: number u of a row lies at u, or at u ^ 1 in odd rows or in the upper half of 64 columns.
  const auto swapped = [](int row, int four) { return four ^ ((row ^ four / 8) & 1); };

  const int column = lane % lanes * together, n = first_n + Gemm::warp_column() + column;
  const int m = first_m + Gemm::warp_row() + read_row;
  const Columns<Element> own{output.aligned, min(together, output.columns - n)};
  float bias[together] = {};
  if (output.bias)  // at any address
    Columns<Element>{false, own.count}.load(output.bias + n, bias);

  // One slab's code for all: the sums move up through the registers, which no loop can index.
#pragma unroll 1
  for (int i = 0; i < slabs; ++i) {
#pragma unroll
    for (int j = 0; j < Gemm::warp_n / 8; ++j)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = write_row + 8 * half, four = 2 * j + lane % 4 / 2;
        store_shared(slab + row * pitch + swapped(row, four) * 4 + lane % 2 * 2,
                     Vector<float, 2>{sums[0][j][2 * half], sums[0][j][2 * half + 1]});
      }
    __syncthreads();
#pragma unroll 1
    for (int r = 0; r < Gemm::slab_rows; r += rows) {
      const int64_t begin = output.row(m + i * Gemm::slab_rows + r);
      if (begin < 0 || n >= output.columns) continue;
      float values[together];
#pragma unroll
      for (int j = 0; j < together / 4; ++j) {
        const int row = read_row + r, four = swapped(row, column / 4 + j);
        const Four loaded = load_shared<Four>(slab + row * pitch + four * 4);
#pragma unroll
        for (int c = 0; c < 4; ++c) values[4 * j + c] = loaded[c] + bias[4 * j + c];
      }
      output.finish(begin + n, own, values);
      own.store(output.data + begin + n, values);
    }
    __syncthreads();
#pragma unroll
    for (int up = 0; up + 1 < slabs; ++up)
#pragma unroll
      for (int j = 0; j < Gemm::warp_n / 8; ++j) sums[up][j] = sums[up + 1][j];
  }
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
