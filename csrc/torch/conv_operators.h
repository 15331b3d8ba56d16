// Convolution, its input, weight and bias gradients: tensor -> problem -> backend -> tensor.
#pragma once

#include <torch/csrc/stable/library.h>

#include "torch/conv_args.h"

namespace cnnkern {

template <class Backend>
Tensor conv_forward(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
                    const IntList& stride, const IntList& padding, const IntList& dilation,
                    int64_t groups) {
  const ConvProblem problem =
      forward_problem(input, weight, bias, {stride, padding, dilation, groups});
  const Tensor x = in_layout(input, problem.layout), w = in_layout(weight, problem.layout);
  const std::optional<Tensor> b =
      bias ? std::optional(torch::stable::contiguous(*bias)) : std::nullopt;
  Tensor y = allocate(tensor_sizes(problem.n, problem.k, problem.output, problem.spatial_dims),
                      input, problem.layout);
  if (problem.output_elements() > 0)
    Backend::conv(
        problem,
        {read_pointer(x), read_pointer(w), y.mutable_data_ptr(), b ? read_pointer(*b) : nullptr},
        input);
  return y;
}

template <class Backend>
Tensor conv_input_grad(const Tensor& grad_output, const Tensor& weight,
                       const std::optional<Tensor>& bias, const IntList& input_size,
                       const IntList& stride, const IntList& padding, const IntList& dilation,
                       int64_t groups) {
  const ConvProblem problem = input_grad_problem(grad_output, weight, bias, input_size,
                                                 {stride, padding, dilation, groups});
  const Tensor dy = in_layout(grad_output, problem.layout), w = in_layout(weight, problem.layout);
  const std::optional<Tensor> b =
      bias ? std::optional(torch::stable::contiguous(*bias)) : std::nullopt;
  Tensor dx = allocate(tensor_sizes(problem.n, problem.c, problem.input, problem.spatial_dims),
                       grad_output, problem.layout);
  if (problem.input_elements() > 0)
    Backend::conv(
        problem,
        {dx.mutable_data_ptr(), read_pointer(w), read_pointer(dy), b ? read_pointer(*b) : nullptr},
        grad_output);
  return dx;
}

template <class Backend>
Tensor conv_weight_grad(const Tensor& grad_output, const Tensor& input, const IntList& kernel_size,
                        const IntList& stride, const IntList& padding, const IntList& dilation,
                        int64_t groups) {
  const ConvProblem problem =
      weight_grad_problem(grad_output, input, kernel_size, {stride, padding, dilation, groups});
  const Tensor dy = in_layout(grad_output, problem.layout), x = in_layout(input, problem.layout);
  Tensor dw =
      allocate(tensor_sizes(problem.k, problem.c_per_group(), problem.filter, problem.spatial_dims),
               input, problem.layout);
  if (problem.weight_elements() > 0)
    Backend::conv(problem, {read_pointer(x), dw.mutable_data_ptr(), read_pointer(dy)}, input);
  return dw;
}

template <class Backend>
Tensor conv_bias_grad(const Tensor& grad_output) {
  ConvProblem problem;
  problem.dtype = dtype_of(grad_output, "grad_output");
  problem.layout = common_layout(grad_output, grad_output);
  const Tensor dy = in_layout(grad_output, problem.layout);
  problem.spatial_dims = static_cast<int>(dy.dim() - 2);
  problem.n = dy.size(0), problem.k = dy.size(1);
  for (int axis = 3 - problem.spatial_dims; axis < 3; ++axis)
    problem.output[axis] = dy.size(axis - 1 + problem.spatial_dims);
  Tensor db = allocate({problem.k}, grad_output, Layout::nchw);
  if (problem.k > 0)
    Backend::bias_grad(problem, read_pointer(dy), db.mutable_data_ptr(), grad_output);
  return db;
}

template <class Backend>
void register_conv_operators(torch::stable::detail::StableLibrary& m) {
  m.impl("conv_forward", TORCH_BOX(&conv_forward<Backend>));
  m.impl("conv_input_grad", TORCH_BOX(&conv_input_grad<Backend>));
  m.impl("conv_weight_grad", TORCH_BOX(&conv_weight_grad<Backend>));
  m.impl("conv_bias_grad", TORCH_BOX(&conv_bias_grad<Backend>));
}

}  // namespace cnnkern
