// Tensors to convolution problems.
#pragma once

#include "torch/tensor_args.h"

namespace cnnkern {

/// Fills the geometry that the three convolution operators share from the lists of a call.
struct ConvArguments {
  const IntList& stride;
  const IntList& padding;
  const IntList& dilation;
  int64_t groups;
};
ConvProblem forward_problem(const Tensor& input, const Tensor& weight,
                            const std::optional<Tensor>& bias, const ConvArguments& arguments);
ConvProblem input_grad_problem(const Tensor& grad_output, const Tensor& weight,
                               const std::optional<Tensor>& bias, const IntList& input_size,
                               const ConvArguments& arguments);
ConvProblem weight_grad_problem(const Tensor& grad_output, const Tensor& input,
                                const IntList& kernel_size, const ConvArguments& arguments);

}  // namespace cnnkern
