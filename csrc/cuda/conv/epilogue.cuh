// From a thread's accumulators to global memory: masks the tile's overhang, adds the bias, and
// finishes what fprop fuses.
//
// An output type gives
//   int64_t row(int m) const;      offset of row m's first column, negative if nothing is stored
//   int columns; int64_t column_stride; const float* bias (may be null; one a column); float* data
//   float finish(const float* to, float sum) const;      if it has one: the value to store there
// Columns of a k-major operand are strided over the threads, so scalar stores of neighbouring
// threads are neighbours in memory; those of an mn-major operand come in fours, and travel in fours
// where the tensor allows (vector == 4: the columns are a multiple of 4 and neighbours in memory).
#pragma once

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
      else if constexpr (requires { output.finish(to, 0.0f); })
        store_global(to, output.finish(to, with_bias(0)));
      else store_global(to, with_bias(0));
    }
  }
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
