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

template <Layout layout>
int64_t pack_groups(const GatherConv& conv, float* to, const ParallelFor& parallel) {
  const int64_t each = Winograd<layout>(conv, 0).packed_floats();
  GatherConv one = conv;
  for (int64_t group = 0; to && group < conv.groups; ++group) {
    one.weight = static_cast<const float*>(conv.weight) + group * conv.weight_group;
    Winograd<layout>(one, 0).pack(to + group * each, parallel);
  }
  return conv.groups * each * static_cast<int64_t>(sizeof(float));
}

int64_t winograd_pack(const GatherConv& conv, void* to, const ParallelFor& parallel) {
  if (conv.layout == Layout::nchw)
    return pack_groups<Layout::nchw>(conv, static_cast<float*>(to), parallel);
  return pack_groups<Layout::nhwc>(conv, static_cast<float*>(to), parallel);
}

void winograd_wgrad(const ReduceConv& conv, const ParallelFor& parallel) {
  if (conv.layout == Layout::nchw) WinogradReduce<Layout::nchw>(conv).run(parallel);
  else WinogradReduce<Layout::nhwc>(conv).run(parallel);
}

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
