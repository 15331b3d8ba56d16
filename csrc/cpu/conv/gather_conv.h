// Every convolution as gathers: the form that the SIMD kernels compute.
//
// A gather reads, for each pixel j of a grid and each tap, the source at j·step + tap, or zero
// outside. fprop is one gather from the input, with step = stride. dgrad is one gather from the
// output's gradient for each residue of the input coordinate modulo the stride (a parity class):
// there step = 1, and only the taps of that residue take part. wgrad multiplies two gathers.
// Source: implicit GEMM (Chetlur et al., cuDNN, 2014); parity classes as in sub-pixel convolution.
//
// Plain structs, made by code compiled for any CPU and read by code compiled for one.
#pragma once

#include <vector>

#include "common/conv_problem.h"
#include "common/parallel.h"
#include "cpu/strides.h"

namespace cnnkern::cpu {

struct Tap {
  int32_t d, h, w;  // added to the source coordinate of the pixel
  int64_t source;   // the same as an element offset
  int64_t weight;   // element offset of this tap in a filter
  int64_t run = 1;  // taps from here on that read on where the one before ended (nhwc)
};

struct Gather {
  const void* source = nullptr;
  Strides strides;
  Extent3 extent;                    // of the source; reads outside give zero
  int64_t images = 0, channels = 0;  // channels of one group
  Extent3 grid, step;
  const Tap* taps = nullptr;
  int64_t tap_count = 0;
  Extent3 taps_along{1, 1, 1};                // their number along each axis; w fastest in `taps`
  Extent3 lowest{0, 0, 0}, highest{0, 0, 0};  // of the taps, along each axis

  int64_t pixels() const { return images * grid.volume(); }
  int64_t depth() const { return channels * tap_count; }  // of the GEMM
  /// Whether each pixel reads the source's pixel of the same number, and nothing else.
  bool pointwise() const {
    return tap_count == 1 && step == Extent3{1, 1, 1} && grid == extent &&
           lowest == Extent3{0, 0, 0};
  }
};

/// dest[n, g·filters + m, pixel] = bias + Σ over tap, c of weight[g, m, c, tap] · gathered, and
/// what a fused fprop does then (epilogue.h).
struct GatherConv {
  DType dtype;
  Layout layout;
  Gather gather;
  int64_t groups, filters;  // filters of one group
  const void* weight;
  int64_t weight_group, weight_filter, weight_channel;  // element strides
  const void* bias;                                     // null, or groups · filters elements
  void* dest;
  int64_t dest_offset;
  Strides dest_strides;
  Activation activation = Activation::none;
  const void* residual = nullptr;  // null, or as dest
  void* preactivation = nullptr;   // likewise
  const void* packed = nullptr;    // null, or what `pack` made of the weight
};

/// weight[g, m, c, tap] = Σ over pixels of gradient[g, m] · patches[g, c, tap].
struct ReduceConv {
  DType dtype;
  Layout layout;
  Gather gradient, patches;  // over the same pixels; gradient has one tap
  int64_t groups;
  void* weight;
  int64_t weight_group, weight_filter, weight_channel;
};

/// The gathers of an fprop (one) or a dgrad (one for each parity class), one after another.
void for_each_gather(const ConvProblem& problem, const ConvTensors& tensors,
                     const std::function<void(const GatherConv&)>& run);

/// The same gathers, to be read side by side. Those of a dgrad are classes.d × .h × .w parity
/// classes (w fastest): class i of an axis writes its elements i, i + classes, i + 2 · classes, …
struct GatherClasses {
  Extent3 classes{1, 1, 1}, extent;  // extent of the destination
  std::vector<GatherConv> parts;
  std::vector<std::vector<Tap>> taps;
};
GatherClasses gather_classes(const ConvProblem& problem, const ConvTensors& tensors);

/// The taps of a ReduceConv live in `taps`.
ReduceConv make_reduce(const ConvProblem& problem, const ConvTensors& tensors,
                       std::vector<Tap>& taps);

/// What one instruction set offers; the scalar one is always there. `pack` writes the weight as its
/// kernel reads it, if `to` is not null, and gives the bytes that it takes.
struct ConvKernels {
  void (*gather_gemm)(const GatherConv& conv, const ParallelFor& parallel);
  int64_t (*gather_gemm_pack)(const GatherConv& conv, void* to, const ParallelFor& parallel);
  void (*reduce_gemm)(const ReduceConv& conv, const ParallelFor& parallel);
  void (*direct)(const GatherConv& conv, const ParallelFor& parallel);
  void (*direct_wgrad)(const ReduceConv& conv, const ParallelFor& parallel);
  void (*depthwise)(const GatherClasses& convs, const ParallelFor& parallel);
  void (*depthwise_wgrad)(const ReduceConv& conv, const ParallelFor& parallel);
};

namespace scalar {
extern const ConvKernels conv_kernels;
}
namespace avx2 {
extern const ConvKernels conv_kernels;
}
namespace avx512 {
extern const ConvKernels conv_kernels;
}

}  // namespace cnnkern::cpu
