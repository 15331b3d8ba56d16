// Average pooling with strided and with adaptive windows, each with its backward.
#pragma once

#include <torch/csrc/stable/library.h>

#include <optional>

#include "torch/avg_pool_args.h"

namespace cnnkern {

/// Runs a problem on the one tensor that it reads, and returns the one that it writes.
template <class Backend>
Tensor run_avg_pool(const AvgPoolProblem& problem, const Tensor& tensor) {
  const bool forward = problem.direction == AvgPoolDirection::forward;
  const Tensor read = in_layout(tensor, problem.layout);
  Tensor written =
      allocate(tensor_sizes(problem.n, problem.c, forward ? problem.output : problem.input,
                            problem.spatial_dims),
               tensor, problem.layout);
  void* const from = read_pointer(read);
  void* const to = written.mutable_data_ptr();
  if ((forward ? problem.output_elements() : problem.input_elements()) > 0)
    Backend::avg_pool(problem, forward ? AvgPoolTensors{from, to} : AvgPoolTensors{to, from},
                      tensor);
  return written;
}

template <class Backend>
Tensor avg_pool_forward(const Tensor& input, const IntList& kernel_size, const IntList& stride,
                        const IntList& padding, const IntList& dilation, bool ceil_mode,
                        bool count_include_pad, std::optional<int64_t> divisor_override) {
  return run_avg_pool<Backend>(
      avg_pool_forward_problem(input, {kernel_size, stride, padding, dilation, ceil_mode,
                                       count_include_pad, divisor_override}),
      input);
}

template <class Backend>
Tensor avg_pool_backward(const Tensor& grad_output, const IntList& input_size,
                         const IntList& kernel_size, const IntList& stride, const IntList& padding,
                         const IntList& dilation, bool ceil_mode, bool count_include_pad,
                         std::optional<int64_t> divisor_override) {
  return run_avg_pool<Backend>(
      avg_pool_backward_problem(
          grad_output, input_size,
          {kernel_size, stride, padding, dilation, ceil_mode, count_include_pad, divisor_override}),
      grad_output);
}

template <class Backend>
Tensor adaptive_avg_pool_forward(const Tensor& input, const IntList& output_size) {
  return run_avg_pool<Backend>(adaptive_avg_pool_forward_problem(input, output_size), input);
}

template <class Backend>
Tensor adaptive_avg_pool_backward(const Tensor& grad_output, const IntList& input_size) {
  return run_avg_pool<Backend>(adaptive_avg_pool_backward_problem(grad_output, input_size),
                               grad_output);
}

template <class Backend>
void register_avg_pool_operators(torch::stable::detail::StableLibrary& m) {
  m.impl("avg_pool_forward", TORCH_BOX(&avg_pool_forward<Backend>));
  m.impl("avg_pool_backward", TORCH_BOX(&avg_pool_backward<Backend>));
  m.impl("adaptive_avg_pool_forward", TORCH_BOX(&adaptive_avg_pool_forward<Backend>));
  m.impl("adaptive_avg_pool_backward", TORCH_BOX(&adaptive_avg_pool_backward<Backend>));
}

}  // namespace cnnkern
