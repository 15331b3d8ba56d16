// What Winograd's kernels share.
#pragma once

#include "cuda/conv/conv_launch.h"
#include "cuda/conv/winograd_plan.h"
#include "cuda/indexing.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

/// Where the weights of a filter and a channel lie, in elements. For dgrad C and K change places,
/// and the filter is turned by 180 degrees: from its last tap backwards.
struct WinogradWeights {
  int64_t first_tap, filter_stride, channel_stride, tap_stride;

  explicit WinogradWeights(const ConvProblem& problem) {
    const bool forward = problem.direction == ConvDirection::fprop,
               channels_last = problem.layout == Layout::nhwc;
    const int64_t k_stride = 9 * problem.c, c_stride = channels_last ? 1 : 9,
                  along_taps = channels_last ? problem.c : 1;
    first_tap = forward ? 0 : 8 * along_taps;
    filter_stride = forward ? k_stride : c_stride;
    channel_stride = forward ? c_stride : k_stride;
    tap_stride = forward ? along_taps : -along_taps;
  }
};

/// Transforms the filters into tensors.workspace.
void launch_winograd_filter(const ConvProblem& problem, const ConvTensors& tensors,
                            cudaStream_t stream);

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
