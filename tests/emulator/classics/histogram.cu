// Histogram with a private histogram in shared memory for every thread, merged in order.
//
// The usual one lets all threads of a block count in one histogram with atomic additions. There are
// no atomics among the primitives, because no kernel here uses any: private counts give the same
// numbers and need one barrier. counts[bin][thread] puts neighbouring threads into different banks;
// in the merge, where a thread adds one row, each starts at another column for the same reason.
#include "classics.h"
#include "cuda/primitives/ldst.cuh"
#include "cuda/primitives/shared.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

constexpr int threads = 64;
static_assert(threads == histogram_bins);  // in the merge each thread owns a bin

struct HistogramShared {
  unsigned counts[histogram_bins][threads];
};

template <Histogram version>
__global__ void histogram(const unsigned char* values, int count, unsigned* counts) {
  CNNKERN_SHARED(HistogramShared, shared);
  const int thread = static_cast<int>(threadIdx.x), block = static_cast<int>(blockIdx.x);
  for (int bin = 0; bin < histogram_bins; ++bin) store_shared(&shared.counts[bin][thread], 0u);
  for (int i = block * threads + thread; i < count; i += histogram_blocks * threads) {
    unsigned* const own = &shared.counts[load_global<unsigned char>(values + i)][thread];
    store_shared(own, load_shared<unsigned>(own) + 1);
  }
  if constexpr (version != Histogram::without_barrier) __syncthreads();
  unsigned sum = 0;
  for (int i = 0; i < threads; ++i)
    sum += load_shared<unsigned>(&shared.counts[thread][(thread + i) % threads]);
  store_global(counts + block * histogram_bins + thread, sum);
}

}  // namespace

template <Histogram version>
void launch_histogram(const unsigned char* values, int count, unsigned* counts,
                      cudaStream_t stream) {
  CNNKERN_LAUNCH(histogram<version>, histogram_blocks, threads, sizeof(HistogramShared), stream,
                 values, count, counts);
}

template void launch_histogram<Histogram::right>(const unsigned char*, int, unsigned*,
                                                 cudaStream_t);
template void launch_histogram<Histogram::without_barrier>(const unsigned char*, int, unsigned*,
                                                           cudaStream_t);

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
