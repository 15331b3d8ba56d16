// The table of one instruction set's convolution kernels; included by its translation unit only.
#pragma once

#include "cpu/conv/depthwise_pixels.h"
#include "cpu/conv/depthwise_planes.h"
#include "cpu/conv/depthwise_small_planes.h"
#include "cpu/conv/direct.h"
#include "cpu/conv/direct_pixels.h"
#include "cpu/conv/implicit_gemm.h"
#include "cpu/conv/reduce_gemm.h"

namespace cnnkern::cpu::CNNKERN_CPU_ISA {

// body(T, layout) with the types and constants that the run-time values name.
template <class Body>
inline void specialise(DType dtype, Layout layout, Body&& body) {
  dispatch(dtype, [&](auto zero) {
    if (layout == Layout::nchw) body(zero, std::integral_constant<Layout, Layout::nchw>());
    else body(zero, std::integral_constant<Layout, Layout::nhwc>());
  });
}

inline void run_gather_gemm(const GatherConv& conv, const ParallelFor& parallel) {
  specialise(conv.dtype, conv.layout,
             [&]<class T, Layout layout>(T, std::integral_constant<Layout, layout>) {
               ImplicitGemm<T, layout>(conv).run(parallel);
             });
}

inline int64_t pack_gather_gemm(const GatherConv& conv, void* to, const ParallelFor& parallel) {
  int64_t bytes = 0;
  specialise(conv.dtype, conv.layout,
             [&]<class T, Layout layout>(T, std::integral_constant<Layout, layout>) {
               using A = accumulator_t<T>;
               bytes = ImplicitGemm<T, layout>::packed_size(conv) * sizeof(A);
               GatherConv without_weights = conv;
               without_weights.packed = to;
               if (to) ImplicitGemm<T, layout>(without_weights).pack(static_cast<A*>(to), parallel);
             });
  return bytes;
}

inline void run_reduce_gemm(const ReduceConv& conv, const ParallelFor& parallel) {
  specialise(conv.dtype, conv.layout,
             [&]<class T, Layout layout>(T, std::integral_constant<Layout, layout>) {
               ReduceGemm<T, layout>(conv).run(parallel);
             });
}

inline void run_direct(const GatherConv& conv, const ParallelFor& parallel) {
  dispatch(conv.dtype, [&]<class T>(T) {
    if (conv.layout == Layout::nchw) DirectPlanes<T>(conv).run(parallel);
    else DirectPixels<T>(conv).run(parallel);
  });
}

inline void run_direct_wgrad(const ReduceConv& conv, const ParallelFor& parallel) {
  dispatch(conv.dtype, [&]<class T>(T) { direct_weights<T>(conv, parallel); });
}

inline void run_depthwise(const GatherClasses& convs, const ParallelFor& parallel) {
  dispatch(convs.parts[0].dtype, [&]<class T>(T) {
    if (convs.parts[0].layout == Layout::nhwc) depthwise_pixels<T>(convs, parallel);
    else if (DepthwiseSmallPlanes<T>::suits(convs)) DepthwiseSmallPlanes<T>(convs).run(parallel);
    else depthwise_planes<T>(convs, parallel);
  });
}

inline void run_depthwise_wgrad(const ReduceConv& conv, const ParallelFor& parallel) {
  dispatch(conv.dtype, [&]<class T>(T) {
    if (conv.layout == Layout::nhwc) depthwise_weights_pixels<T>(conv, parallel);
    else if (DepthwiseWeightsSmallPlanes<T>::suits(conv))
      DepthwiseWeightsSmallPlanes<T>(conv).run(parallel);
    else depthwise_weights_planes<T>(conv, parallel);
  });
}

const ConvKernels conv_kernels = {run_gather_gemm,    pack_gather_gemm, run_reduce_gemm,
                                  run_direct,         run_direct_wgrad, run_depthwise,
                                  run_depthwise_wgrad};

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
