// Tensors to average-pooling problems.
#pragma once

#include "common/avg_pool_problem.h"
#include "torch/tensor_args.h"

namespace cnnkern {

struct AvgPoolArguments {
  const IntList& kernel_size;
  const IntList& stride;
  const IntList& padding;
  const IntList& dilation;
  bool ceil_mode, count_include_pad;
  std::optional<int64_t> divisor_override;
};
AvgPoolProblem avg_pool_forward_problem(const Tensor& input, const AvgPoolArguments& arguments);
AvgPoolProblem avg_pool_backward_problem(const Tensor& grad_output, const IntList& input_size,
                                         const AvgPoolArguments& arguments);
AvgPoolProblem adaptive_avg_pool_forward_problem(const Tensor& input, const IntList& output_size);
AvgPoolProblem adaptive_avg_pool_backward_problem(const Tensor& grad_output,
                                                  const IntList& input_size);

}  // namespace cnnkern
