// Tensors to problems of adaptive and fractional max pooling and of unpooling.
#pragma once

#include "common/window_pool_problem.h"
#include "torch/tensor_args.h"

namespace cnnkern {

/// Windows are fractional if there are samples: one for each image, channel and axis.
WindowPoolProblem window_pool_forward_problem(const Tensor& input,
                                              const std::optional<Tensor>& samples,
                                              const IntList& kernel_size,
                                              const IntList& output_size);
WindowPoolProblem window_pool_backward_problem(const Tensor& grad_output, const Tensor& indices,
                                               const std::optional<Tensor>& samples,
                                               const IntList& input_size,
                                               const IntList& kernel_size);
WindowPoolProblem unpool_problem(const Tensor& input, const Tensor& indices,
                                 const IntList& output_size);

}  // namespace cnnkern
