// From a thread's accumulators to global memory: masks the tile's overhang, adds the bias, and does
// what fprop fuses.
//
// An output type gives
//   int64_t row(int m) const;      offset of row m's first column, negative if nothing is stored
//   int columns; int64_t column_stride; const Element* bias (may be null; one a column)
//   Element* data
//   int64_t first() const;         if fused: where data begins in the whole tensor
// Columns of a k-major operand are strided over SIMT's threads, so scalar stores of neighbouring
// threads are neighbours in memory; those of an mn-major operand come in fours, and those of an mma
// in pairs. They travel together where the tensor allows (Gemm::together).
#pragma once

#include "cuda/conv/conv_bias_act.cuh"
#include "cuda/conv/implicit_gemm_f64.cuh"
#include "cuda/conv/implicit_gemm_simt.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

template <class Gemm, class Output>
__device__ __forceinline__ void store_tile(const Output& output, int first_m, int first_n,
                                           const typename Gemm::Accumulators& sums) {
  using Element = typename Gemm::Element;
  constexpr int together = Gemm::together;
#pragma unroll
  for (int i = 0; i < Gemm::thread_m; ++i) {
    const int64_t row = output.row(first_m + Gemm::row(i));
    if (row < 0) continue;
#pragma unroll
    for (int j = 0; j < Gemm::thread_n; j += together) {
      const int n = first_n + Gemm::column(j);
      if (n >= output.columns) continue;
      Vector<Element, together> values;
#pragma unroll
      for (int c = 0; c < together; ++c)
        values[c] = output.bias
                        ? sums[i][j + c] + load_global_readonly<Element>(output.bias + n + c)
                        : sums[i][j + c];
      store_global(output.data + row + n * output.column_stride, values);
    }
  }
}

/// As store_tile for a k-major operand, with what `finish` adds. The rows move up through the
/// registers, which no loop can index: so there is code for one row, and one branch on the
/// activation in it. Unrolled over all sums it would be ten times larger than the main loop.
template <class Gemm, class Output>
__device__ __forceinline__ void store_fused_tile(const Output& output,
                                                 const ConvBiasAct<typename Gemm::Element>& finish,
                                                 int first_m, int first_n,
                                                 typename Gemm::Accumulators& sums) {
  using Element = typename Gemm::Element;
  static_assert(Gemm::major_b == Major::k);
  constexpr int thread_m = Gemm::thread_m, thread_n = Gemm::thread_n;
#pragma unroll 1
  for (int i = 0; i < thread_m; ++i) {
    const int64_t begin = output.row(first_m + Gemm::row(i));
    const auto element = [&](int j) {
      return begin + (first_n + Gemm::column(j)) * output.column_stride;
    };
    const auto exists = [&](int j) {
      return begin >= 0 && first_n + Gemm::column(j) < output.columns;
    };
    Element values[thread_n];
#pragma unroll
    for (int j = 0; j < thread_n; ++j) {
      values[j] = sums[0][j];
      if (!exists(j)) continue;
      if (output.bias)
        values[j] += load_global_readonly<Element>(output.bias + first_n + Gemm::column(j));
      values[j] = finish.before(output.first() + element(j), values[j]);
    }
    with_activation<Element>(finish.activation, [&](const auto& function) {
#pragma unroll
      for (int j = 0; j < thread_n; ++j) values[j] = function(values[j]);
    });
#pragma unroll
    for (int j = 0; j < thread_n; ++j)
      if (exists(j)) store_global(output.data + element(j), values[j]);
#pragma unroll
    for (int m = 0; m < thread_m - 1; ++m)
#pragma unroll
      for (int j = 0; j < thread_n; ++j) sums[m][j] = sums[m + 1][j];
  }
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
