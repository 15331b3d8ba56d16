// Max pooling, its backward, and the gather by saved indices.
#pragma once

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "torch/max_pool_args.h"

namespace cnnkern {

/// `indices` is null, or what the problem's PoolIndices say.
inline PoolTensors pool_tensors(const PoolProblem& problem, void* input, void* output,
                                void* indices) {
  if (problem.indices == PoolIndices::offsets)
    return {input, output, nullptr, static_cast<uint8_t*>(indices)};
  return {input, output, static_cast<int64_t*>(indices)};
}

template <class Backend, PoolIndices kind>
std::tuple<Tensor, Tensor> max_pool_saving(const Tensor& input, const IntList& kernel_size,
                                           const IntList& stride, const IntList& padding,
                                           const IntList& dilation, bool ceil_mode) {
  const PoolProblem problem =
      pool_forward_problem(input, {kernel_size, stride, padding, dilation, ceil_mode}, kind);
  const Tensor x = in_layout(input, problem.layout);
  const IntList sizes = tensor_sizes(problem.n, problem.c, problem.output, problem.spatial_dims);
  Tensor y = allocate(sizes, input, problem.layout);
  Tensor indices = (kind == PoolIndices::offsets ? allocate_offsets : allocate_indices)(
      sizes, input, problem.layout);
  if (problem.output_elements() > 0)
    Backend::pool(
        problem,
        pool_tensors(problem, read_pointer(x), y.mutable_data_ptr(), indices.mutable_data_ptr()),
        input);
  return {y, indices};
}

template <class Backend>
Tensor max_pool_values(const Tensor& input, const IntList& kernel_size, const IntList& stride,
                       const IntList& padding, const IntList& dilation, bool ceil_mode) {
  const PoolProblem problem = pool_forward_problem(
      input, {kernel_size, stride, padding, dilation, ceil_mode}, PoolIndices::none);
  const Tensor x = in_layout(input, problem.layout);
  Tensor y = allocate(tensor_sizes(problem.n, problem.c, problem.output, problem.spatial_dims),
                      input, problem.layout);
  if (problem.output_elements() > 0)
    Backend::pool(problem, {read_pointer(x), y.mutable_data_ptr()}, input);
  return y;
}

template <class Backend>
Tensor max_pool_backward(const Tensor& grad_output, const Tensor& indices,
                         const IntList& input_size, const IntList& kernel_size,
                         const IntList& stride, const IntList& padding, const IntList& dilation,
                         bool ceil_mode) {
  const PoolProblem problem = pool_backward_problem(
      grad_output, indices, input_size, {kernel_size, stride, padding, dilation, ceil_mode});
  const Tensor dy = in_layout(grad_output, problem.layout), at = in_layout(indices, problem.layout);
  Tensor dx = allocate(tensor_sizes(problem.n, problem.c, problem.input, problem.spatial_dims),
                       grad_output, problem.layout);
  if (problem.input_elements() > 0)
    Backend::pool(problem,
                  pool_tensors(problem, dx.mutable_data_ptr(), read_pointer(dy), read_pointer(at)),
                  grad_output);
  return dx;
}

template <class Backend>
Tensor max_pool_gather(const Tensor& input, const Tensor& indices, const IntList& kernel_size,
                       const IntList& stride, const IntList& padding, const IntList& dilation,
                       bool ceil_mode) {
  const PoolProblem problem =
      pool_gather_problem(input, indices, {kernel_size, stride, padding, dilation, ceil_mode});
  const Tensor x = in_layout(input, problem.layout), at = in_layout(indices, problem.layout);
  Tensor y = allocate(tensor_sizes(problem.n, problem.c, problem.output, problem.spatial_dims),
                      input, problem.layout);
  if (problem.output_elements() > 0)
    Backend::pool(problem,
                  pool_tensors(problem, read_pointer(x), y.mutable_data_ptr(), read_pointer(at)),
                  input);
  return y;
}

template <class Backend>
void register_max_pool_operators(torch::stable::detail::StableLibrary& m) {
  m.impl("max_pool_forward", TORCH_BOX((&max_pool_saving<Backend, PoolIndices::positions>)));
  m.impl("max_pool_offsets", TORCH_BOX((&max_pool_saving<Backend, PoolIndices::offsets>)));
  m.impl("max_pool_values", TORCH_BOX(&max_pool_values<Backend>));
  m.impl("max_pool_backward", TORCH_BOX(&max_pool_backward<Backend>));
  m.impl("max_pool_gather", TORCH_BOX(&max_pool_gather<Backend>));
}

}  // namespace cnnkern
