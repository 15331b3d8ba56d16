// The average-pooling kernels behind the table in avg_pool_cpu.cpp; both directions each.
#pragma once

#include "common/avg_pool_problem.h"
#include "common/parallel.h"

namespace cnnkern::cpu {

#define CNNKERN_DECLARE_AVG_POOL(isa)                                         \
  namespace isa {                                                             \
  void avg_pool(const AvgPoolProblem& problem, const AvgPoolTensors& tensors, \
                const ParallelFor& parallel);                                 \
  }
CNNKERN_DECLARE_AVG_POOL(scalar)
CNNKERN_DECLARE_AVG_POOL(avx2)
CNNKERN_DECLARE_AVG_POOL(avx512)
#undef CNNKERN_DECLARE_AVG_POOL

}  // namespace cnnkern::cpu
