// The max-pooling kernels behind the table in pool_cpu.cpp.
#pragma once

#include "common/parallel.h"
#include "common/pool_problem.h"

namespace cnnkern::cpu {

/// Each (image, channel) plane belongs to one task, which adds the gradients of its windows in
/// row-major order at the saved positions; positions outside the plane add nothing.
void max_pool_scatter(const PoolProblem& problem, const PoolTensors& tensors,
                      const ParallelFor& parallel);

#define CNNKERN_DECLARE_MAX_POOL(isa)                                                    \
  namespace isa {                                                                        \
  void max_pool_forward(const PoolProblem& problem, const PoolTensors& tensors,          \
                        const ParallelFor& parallel);                                    \
  void adaptive_max_pool_forward(const PoolProblem& problem, const PoolTensors& tensors, \
                                 const ParallelFor& parallel);                           \
  void max_pool_backward(const PoolProblem& problem, const PoolTensors& tensors,         \
                         const ParallelFor& parallel);                                   \
  }
CNNKERN_DECLARE_MAX_POOL(scalar)
CNNKERN_DECLARE_MAX_POOL(avx2)
CNNKERN_DECLARE_MAX_POOL(avx512)
#undef CNNKERN_DECLARE_MAX_POOL

}  // namespace cnnkern::cpu
