#include "torch/avg_pool_args.h"

namespace cnnkern {
namespace {

constexpr const char* strided = "avg_pool";
constexpr const char* adaptive = "adaptive_avg_pool";

// What both kinds of windows and both directions take from their tensor.
AvgPoolProblem problem_of(const Tensor& tensor, const char* name, const char* op) {
  check_rank(tensor, name, op);
  AvgPoolProblem problem;
  problem.dtype = dtype_of(tensor, name);
  problem.layout = common_layout(tensor, tensor);
  problem.spatial_dims = static_cast<int>(tensor.dim() - 2);
  problem.n = tensor.size(0), problem.c = tensor.size(1);
  return problem;
}

void set_windows(AvgPoolProblem& problem, const AvgPoolArguments& arguments) {
  const auto dims = static_cast<size_t>(problem.spatial_dims);
  problem.window = extent(arguments.kernel_size, dims, "kernel_size", strided);
  problem.stride = extent(arguments.stride, dims, "stride", strided);
  problem.dilation = extent(arguments.dilation, dims, "dilation", strided);
  problem.pad = extent(arguments.padding, dims, "padding", strided);
  for (int axis = 0; axis < 3 - problem.spatial_dims; ++axis) problem.pad[axis] = 0;
  problem.ceil_mode = arguments.ceil_mode;
  problem.count_include_pad = arguments.count_include_pad;
  if (arguments.divisor_override == 0) fail("avg_pool: divisor must be not zero");
  problem.divisor = arguments.divisor_override.value_or(0);
  problem.check_windows();
}

void check_not_empty(const AvgPoolProblem& problem, const Tensor& tensor, const char* op) {
  if (problem.c == 0 || problem.input.volume() == 0)
    fail(std::string(op) + ": expected a tensor with optional 0 dim batch size for input, with " +
         "non-zero size for non-batch dimensions, but got:" + sizes_text(tensor));
}

void check_gradient(const AvgPoolProblem& problem, const Tensor& grad_output, const char* op) {
  const auto given = grad_output.sizes();
  if (tensor_sizes(problem.n, problem.c, problem.output, problem.spatial_dims) !=
      IntList(given.begin(), given.end()))
    fail(std::string(op) + ": grad_output of size " + sizes_text(grad_output) +
         " does not belong to this pooling");
}

}  // namespace

AvgPoolProblem avg_pool_forward_problem(const Tensor& input, const AvgPoolArguments& arguments) {
  AvgPoolProblem problem = problem_of(input, "input", strided);
  problem.input = spatial_sizes(input);
  set_windows(problem, arguments);
  check_not_empty(problem, input, strided);
  problem.set_output();
  return problem;
}

AvgPoolProblem avg_pool_backward_problem(const Tensor& grad_output, const IntList& input_size,
                                         const AvgPoolArguments& arguments) {
  AvgPoolProblem problem = problem_of(grad_output, "grad_output", strided);
  problem.direction = AvgPoolDirection::backward;
  problem.input =
      extent(input_size, static_cast<size_t>(problem.spatial_dims), "input_size", strided);
  set_windows(problem, arguments);
  problem.set_output();
  check_gradient(problem, grad_output, strided);
  return problem;
}

AvgPoolProblem adaptive_avg_pool_forward_problem(const Tensor& input, const IntList& output_size) {
  AvgPoolProblem problem = problem_of(input, "input", adaptive);
  problem.adaptive = true;
  problem.input = spatial_sizes(input);
  problem.output =
      extent(output_size, static_cast<size_t>(problem.spatial_dims), "output_size", adaptive);
  for (int axis = 0; axis < 3; ++axis)
    if (problem.output[axis] < 0)
      fail(
          "adaptive_avg_pool: elements of output_size must be greater than or equal to 0, but "
          "got " +
          std::to_string(problem.output[axis]));
  check_not_empty(problem, input, adaptive);
  return problem;
}

AvgPoolProblem adaptive_avg_pool_backward_problem(const Tensor& grad_output,
                                                  const IntList& input_size) {
  AvgPoolProblem problem = problem_of(grad_output, "grad_output", adaptive);
  problem.direction = AvgPoolDirection::backward;
  problem.adaptive = true;
  problem.output = spatial_sizes(grad_output);
  problem.input =
      extent(input_size, static_cast<size_t>(problem.spatial_dims), "input_size", adaptive);
  return problem;
}

}  // namespace cnnkern
