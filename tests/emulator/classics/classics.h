// The kernels of every CUDA course, written anew, each with the mistakes that courses warn of.
//
// They are an outside check of the emulator: the right ones have to run right, and each mistake has
// to be reported for what it is (tests/test_classics.py, docs/emulator.md).
#pragma once

#include "common/launch.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

enum class Sgemm { right, without_second_barrier };
/// c = a · b for row-major matrices: a is m × k, b is k × n.
template <Sgemm version>
void launch_sgemm(const float* a, const float* b, float* c, int m, int n, int k, cudaStream_t);

enum class Transpose { right, unpadded, uncoalesced };
/// out[column][row] = in[row][column].
template <Transpose version>
void launch_transpose(const float* in, float* out, int rows, int columns, cudaStream_t);

enum class Reduction { right, without_barrier, without_sync_warp };
inline constexpr int reduction_blocks = 5;
/// sums[block] = the sum of the block's part of the values; the caller adds the sums in order.
template <Reduction version>
void launch_reduction(const float* values, int count, float* sums, cudaStream_t);

enum class Histogram { right, without_barrier };
inline constexpr int histogram_bins = 64, histogram_blocks = 3;
/// counts[block][bin] = how often the bin occurs in the block's part of the values.
template <Histogram version>
void launch_histogram(const unsigned char* values, int count, unsigned* counts, cudaStream_t);

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
