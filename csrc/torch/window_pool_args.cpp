#include "torch/window_pool_args.h"

namespace cnnkern {
namespace {

WindowPoolProblem problem_of(const Tensor& tensor, const char* name, const char* op) {
  check_rank(tensor, name, op);
  WindowPoolProblem problem;
  problem.dtype = dtype_of(tensor, name);
  require_floating_point(problem.dtype);
  problem.layout = common_layout(tensor, tensor);
  problem.spatial_dims = static_cast<int>(tensor.dim() - 2);
  problem.n = tensor.size(0), problem.c = tensor.size(1);
  return problem;
}

void set_windows(WindowPoolProblem& problem, const Tensor& tensor,
                 const std::optional<Tensor>& samples, const IntList& kernel_size) {
  problem.fractional = samples.has_value();
  if (samples) {
    problem.window = extent(kernel_size, static_cast<size_t>(problem.spatial_dims), "kernel_size",
                            "fractional_max_pool");
    check_same(tensor, "input", *samples, "samples", "fractional_max_pool");
    if (samples->dim() != 3 || samples->size(0) != problem.n || samples->size(1) != problem.c ||
        samples->size(2) != problem.spatial_dims)
      fail("fractional_max_pool: samples of size " + sizes_text(*samples) +
           " do not belong to a tensor of size " + sizes_text(tensor));
  }
  problem.check_windows();
}

void check_indices(const Tensor& values, const Tensor& indices, const char* op) {
  if (indices.scalar_type() != torch::headeronly::ScalarType::Long)
    fail(std::string(op) + ": elements in indices should be type int64 but got: " +
         torch::headeronly::toString(indices.scalar_type()));
  const auto given = values.sizes(), of_indices = indices.sizes();
  if (IntList(given.begin(), given.end()) != IntList(of_indices.begin(), of_indices.end()))
    fail(std::string(op) + ": Expected shape of indices to be same as that of the input tensor (" +
         sizes_text(values) + ") but got indices tensor with shape: " + sizes_text(indices));
}

}  // namespace

WindowPoolProblem window_pool_forward_problem(const Tensor& input,
                                              const std::optional<Tensor>& samples,
                                              const IntList& kernel_size,
                                              const IntList& output_size) {
  const char* const op = samples ? "fractional_max_pool" : "adaptive_max_pool";
  WindowPoolProblem problem = problem_of(input, "input", op);
  problem.input = spatial_sizes(input);
  problem.output =
      extent(output_size, static_cast<size_t>(problem.spatial_dims), "output_size", op);
  set_windows(problem, input, samples, kernel_size);
  return problem;
}

WindowPoolProblem window_pool_backward_problem(const Tensor& grad_output, const Tensor& indices,
                                               const std::optional<Tensor>& samples,
                                               const IntList& input_size,
                                               const IntList& kernel_size) {
  const char* const op = samples ? "fractional_max_pool" : "adaptive_max_pool";
  WindowPoolProblem problem = problem_of(grad_output, "grad_output", op);
  problem.direction = WindowPoolDirection::backward;
  check_indices(grad_output, indices, op);
  problem.layout = common_layout(grad_output, indices);
  problem.output = spatial_sizes(grad_output);
  problem.input = extent(input_size, static_cast<size_t>(problem.spatial_dims), "input_size", op);
  set_windows(problem, grad_output, samples, kernel_size);
  return problem;
}

WindowPoolProblem unpool_problem(const Tensor& input, const Tensor& indices,
                                 const IntList& output_size) {
  const char* const op = "max_unpool";
  WindowPoolProblem problem = problem_of(input, "input", op);
  problem.direction = WindowPoolDirection::unpool;
  check_indices(input, indices, op);
  problem.layout = common_layout(input, indices);
  problem.output = spatial_sizes(input);
  problem.input = extent(output_size, static_cast<size_t>(problem.spatial_dims), "output_size", op);
  for (int axis = 0; axis < 3; ++axis)
    if (problem.input[axis] < 0)
      fail("max_unpool: output_size must contain non-negative spatial dimensions, but got " +
           std::to_string(problem.input[axis]));
  if (problem.c == 0 || problem.output.volume() == 0)
    fail("max_unpool: Expected input to have non-zero size for non-batch dimensions, but got " +
         sizes_text(input));
  return problem;
}

}  // namespace cnnkern
