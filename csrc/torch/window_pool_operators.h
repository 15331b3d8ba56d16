// Max pooling over adaptive and fractional windows, unpooling, and the derivatives of both.
#pragma once

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "torch/max_pool_operators.h"
#include "torch/window_pool_args.h"

namespace cnnkern {

template <class Backend>
std::tuple<Tensor, Tensor> window_max_pool_forward(const Tensor& input,
                                                   const std::optional<Tensor>& samples,
                                                   const IntList& kernel_size,
                                                   const IntList& output_size) {
  const WindowPoolProblem problem =
      window_pool_forward_problem(input, samples, kernel_size, output_size);
  const Tensor x = in_layout(input, problem.layout);
  const Tensor u = in_layout(samples.value_or(x), samples ? Layout::nchw : problem.layout);
  const IntList sizes = tensor_sizes(problem.n, problem.c, problem.output, problem.spatial_dims);
  Tensor y = allocate(sizes, input, problem.layout);
  Tensor indices = allocate_indices(sizes, input, problem.layout);
  if (problem.output_elements() > 0)
    Backend::window_pool(
        problem,
        {read_pointer(x), y.mutable_data_ptr(), static_cast<int64_t*>(indices.mutable_data_ptr()),
         samples ? read_pointer(u) : nullptr},
        input);
  return {y, indices};
}

/// Of backward and unpool: what is read lies at the windows, what is written in the planes.
template <class Backend>
Tensor run_at_indices(const WindowPoolProblem& problem, const Tensor& tensor, const Tensor& indices,
                      const std::optional<Tensor>& samples) {
  const Tensor y = in_layout(tensor, problem.layout), at = in_layout(indices, problem.layout);
  const Tensor u = in_layout(samples.value_or(y), samples ? Layout::nchw : problem.layout);
  Tensor x = allocate(tensor_sizes(problem.n, problem.c, problem.input, problem.spatial_dims),
                      tensor, problem.layout);
  // An unpooling to an empty plane has indices to refuse.
  const bool empty = problem.direction == WindowPoolDirection::unpool
                         ? problem.output_elements() == 0
                         : problem.input_elements() == 0;
  if (!empty)
    Backend::window_pool(
        problem,
        {x.mutable_data_ptr(), read_pointer(y), static_cast<int64_t*>(read_pointer(at)),
         samples ? read_pointer(u) : nullptr},
        tensor);
  return x;
}

template <class Backend>
Tensor window_max_pool_backward(const Tensor& grad_output, const Tensor& indices,
                                const std::optional<Tensor>& samples, const IntList& input_size,
                                const IntList& kernel_size) {
  return run_at_indices<Backend>(
      window_pool_backward_problem(grad_output, indices, samples, input_size, kernel_size),
      grad_output, indices, samples);
}

template <class Backend>
Tensor window_max_pool_gather(const Tensor& input, const Tensor& indices,
                              const std::optional<Tensor>&, const IntList&) {
  return max_pool_gather<Backend>(input, indices, {}, {}, {}, {}, false);
}

template <class Backend>
Tensor max_unpool_forward(const Tensor& input, const Tensor& indices, const IntList& output_size) {
  return run_at_indices<Backend>(unpool_problem(input, indices, output_size), input, indices,
                                 std::nullopt);
}

template <class Backend>
Tensor max_unpool_backward(const Tensor& grad_output, const Tensor& indices) {
  return max_pool_gather<Backend>(grad_output, indices, {}, {}, {}, {}, false);
}

template <class Backend>
void register_window_pool_operators(torch::stable::detail::StableLibrary& m) {
  m.impl("window_max_pool_forward", TORCH_BOX(&window_max_pool_forward<Backend>));
  m.impl("window_max_pool_backward", TORCH_BOX(&window_max_pool_backward<Backend>));
  m.impl("window_max_pool_gather", TORCH_BOX(&window_max_pool_gather<Backend>));
  m.impl("max_unpool_forward", TORCH_BOX(&max_unpool_forward<Backend>));
  m.impl("max_unpool_backward", TORCH_BOX(&max_unpool_backward<Backend>));
}

}  // namespace cnnkern
