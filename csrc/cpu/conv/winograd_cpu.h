// Winograd convolution on the CPU: whether it takes a problem, and the call.
#pragma once

#include <string>

#include "common/conv_problem.h"
#include "common/parallel.h"
#include "cpu/isa.h"

namespace cnnkern::cpu {

std::string refuse_winograd(const ConvProblem& problem, const Isa& isa);
/// Of fprop; as pack_weight_cpu() (conv_cpu.h).
int64_t pack_winograd(const ConvProblem& problem, const ConvTensors& tensors, void* to, Isa isa,
                      const ParallelFor& parallel);
void run_winograd(const ConvProblem& problem, const ConvTensors& tensors, Isa isa,
                  const ParallelFor& parallel);

}  // namespace cnnkern::cpu
