// Tensors to max-pooling problems. Indices are positions if they are int64, and offsets if uint8.
#pragma once

#include "torch/tensor_args.h"

namespace cnnkern {

struct PoolArguments {
  const IntList& kernel_size;
  const IntList& stride;
  const IntList& padding;
  const IntList& dilation;
  bool ceil_mode;
};
PoolProblem pool_forward_problem(const Tensor& input, const PoolArguments& arguments,
                                 PoolIndices indices);
PoolProblem pool_backward_problem(const Tensor& grad_output, const Tensor& indices,
                                  const IntList& input_size, const PoolArguments& arguments);
PoolProblem pool_gather_problem(const Tensor& input, const Tensor& indices,
                                const PoolArguments& arguments);

}  // namespace cnnkern
