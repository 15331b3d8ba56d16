// The Winograd kernels of one instruction set; included by its translation unit only.
#pragma once

#include "cpu/conv/winograd_wgrad.h"

namespace cnnkern::cpu::CNNKERN_CPU_ISA {

template <Layout layout>
void run_groups(const GatherConv& conv, const ParallelFor& parallel) {
  for (int64_t group = 0; group < conv.groups; ++group) Winograd<layout>(conv, group).run(parallel);
}

void winograd(const GatherConv& conv, const ParallelFor& parallel) {
  if (conv.layout == Layout::nchw) run_groups<Layout::nchw>(conv, parallel);
  else run_groups<Layout::nhwc>(conv, parallel);
}

void winograd_wgrad(const ReduceConv& conv, const ParallelFor& parallel) {
  if (conv.layout == Layout::nchw) WinogradReduce<Layout::nchw>(conv).run(parallel);
  else WinogradReduce<Layout::nhwc>(conv).run(parallel);
}

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
