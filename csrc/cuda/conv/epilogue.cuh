// From a thread's accumulators to global memory: masks the tile's overhang, adds the bias, and does
// what fprop fuses.
//
// An output type gives
//   int64_t row(int m) const;      offset of row m's first column, negative if nothing is stored
//   int columns; int64_t column_stride; const float* bias (may be null; one a column); float* data
//   int64_t first() const;         if fused: where data begins in the whole tensor
// Columns of a k-major operand are strided over the threads, so scalar stores of neighbouring
// threads are neighbours in memory; those of an mn-major operand come in fours, and travel in fours
// where the tensor allows (vector == 4: the columns are a multiple of 4 and neighbours in memory).
#pragma once

#include "cuda/conv/conv_bias_act.cuh"
#include "cuda/conv/implicit_gemm_simt.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

template <class Gemm, class Output>
__device__ __forceinline__ void store_tile(const Output& output, int first_m, int first_n,
                                           const typename Gemm::Accumulators& sums) {
  constexpr bool in_fours = Gemm::major_b == Major::mn && Gemm::vector == 4;
#pragma unroll
  for (int i = 0; i < Gemm::thread_m; ++i) {
    const int64_t row = output.row(first_m + Gemm::row(i));
    if (row < 0) continue;
#pragma unroll
    for (int j = 0; j < Gemm::thread_n; j += in_fours ? 4 : 1) {
      const int n = first_n + Gemm::column(j);
      if (n >= output.columns) continue;
      float* to = output.data + row + n * output.column_stride;
      const auto with_bias = [&](int c) {
        return output.bias ? sums[i][j + c] + load_global_readonly<float>(output.bias + n + c)
                           : sums[i][j + c];
      };
      if constexpr (in_fours)
        store_global(to, Vector<float, 4>{with_bias(0), with_bias(1), with_bias(2), with_bias(3)});
      else store_global(to, with_bias(0));
    }
  }
}

/// As store_tile for a k-major operand, with what `finish` adds. The rows move up through the
/// registers, which no loop can index: so there is code for one row, and one branch on the
/// activation in it. Unrolled over all sums it would be ten times larger than the main loop.
template <class Gemm, class Output>
__device__ __forceinline__ void store_fused_tile(const Output& output,
                                                 const ConvBiasAct<float>& finish, int first_m,
                                                 int first_n, typename Gemm::Accumulators& sums) {
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
    float values[thread_n];
#pragma unroll
    for (int j = 0; j < thread_n; ++j) {
      values[j] = sums[0][j];
      if (!exists(j)) continue;
      if (output.bias)
        values[j] += load_global_readonly<float>(output.bias + first_n + Gemm::column(j));
      values[j] = finish.before(output.first() + element(j), values[j]);
    }
    with_activation<float>(finish.activation, [&](const auto& function) {
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
