#include "torch/max_pool_args.h"

namespace cnnkern {

using torch::headeronly::ScalarType;

namespace {

PoolProblem pool_problem(const Tensor& tensor, const PoolArguments& arguments) {
  const auto dims = static_cast<size_t>(tensor.dim() - 2);
  PoolProblem problem;
  problem.dtype = dtype_of(tensor, "input");
  problem.spatial_dims = static_cast<int>(dims);
  problem.n = tensor.size(0), problem.c = tensor.size(1);
  problem.window = extent(arguments.kernel_size, dims, "kernel_size", "max_pool");
  problem.stride = extent(arguments.stride, dims, "stride", "max_pool");
  problem.dilation = extent(arguments.dilation, dims, "dilation", "max_pool");
  problem.pad = extent(arguments.padding, dims, "padding", "max_pool");
  for (int axis = 0; axis < static_cast<int>(3 - dims); ++axis) problem.pad[axis] = 0;
  problem.ceil_mode = arguments.ceil_mode;
  return problem;
}

PoolIndices kind_of(const Tensor& indices) {
  if (indices.scalar_type() == ScalarType::Long) return PoolIndices::positions;
  if (indices.scalar_type() == ScalarType::Byte) return PoolIndices::offsets;
  fail(
      std::string("max_pool: expected indices of dtype int64 or offsets of dtype uint8, but got ") +
      torch::headeronly::toString(indices.scalar_type()));
}

}  // namespace

PoolProblem pool_forward_problem(const Tensor& input, const PoolArguments& arguments,
                                 PoolIndices indices) {
  check_rank(input, "input", "max_pool");
  PoolProblem problem = pool_problem(input, arguments);
  problem.layout = common_layout(input, input);
  problem.input = spatial_sizes(input);
  problem.indices = indices;
  problem.set_output();
  return problem;
}

PoolProblem pool_backward_problem(const Tensor& grad_output, const Tensor& indices,
                                  const IntList& input_size, const PoolArguments& arguments) {
  check_rank(grad_output, "grad_output", "max_pool");
  PoolProblem problem = pool_problem(grad_output, arguments);
  problem.indices = kind_of(indices);
  problem.direction = PoolDirection::backward;
  problem.layout = common_layout(grad_output, indices);
  problem.input =
      extent(input_size, static_cast<size_t>(problem.spatial_dims), "input_size", "max_pool");
  problem.set_output();
  const IntList expected = tensor_sizes(problem.n, problem.c, problem.output, problem.spatial_dims);
  const auto given = grad_output.sizes(), index_sizes = indices.sizes();
  if (expected != IntList(given.begin(), given.end()) ||
      expected != IntList(index_sizes.begin(), index_sizes.end()))
    fail("max_pool: grad_output of size " + sizes_text(grad_output) + " and indices of size " +
         sizes_text(indices) + " do not belong to this pooling");
  return problem;
}

PoolProblem pool_gather_problem(const Tensor& input, const Tensor& indices,
                                const PoolArguments& arguments) {
  check_rank(input, "input", "max_pool");
  if (indices.dim() != input.dim() || indices.size(0) != input.size(0) ||
      indices.size(1) != input.size(1))
    fail("max_pool: indices of size " + sizes_text(indices) + " do not belong to input of size " +
         sizes_text(input));
  const PoolIndices kind = kind_of(indices);
  PoolProblem problem;
  if (kind == PoolIndices::offsets) {  // which mean nothing without the windows
    problem = pool_forward_problem(input, arguments, kind);
    if (!(problem.output == spatial_sizes(indices)))
      fail("max_pool: offsets of size " + sizes_text(indices) + " do not belong to this pooling");
  }
  problem.direction = PoolDirection::gather;
  problem.dtype = dtype_of(input, "input");
  problem.layout = common_layout(input, indices);
  problem.spatial_dims = static_cast<int>(input.dim() - 2);
  problem.n = input.size(0), problem.c = input.size(1);
  problem.input = spatial_sizes(input);
  problem.output = spatial_sizes(indices);
  return problem;
}

}  // namespace cnnkern
