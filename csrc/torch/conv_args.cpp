#include "torch/conv_args.h"

namespace cnnkern {
namespace {

// Stride, padding, dilation, groups; the sizes are already set.
void set_arguments(ConvProblem& problem, const ConvArguments& arguments) {
  const auto dims = static_cast<size_t>(problem.spatial_dims);
  problem.groups = arguments.groups;
  problem.stride = extent(arguments.stride, dims, "stride", "conv");
  problem.dilation = extent(arguments.dilation, dims, "dilation", "conv");
  if (arguments.padding.size() != 2 * dims)
    fail("conv: expected padding to hold begin and end of " + std::to_string(dims) +
         " dimensions, but got " + std::to_string(arguments.padding.size()) + " values");
  for (size_t i = 0; i < dims; ++i) {
    const int axis = static_cast<int>(3 - dims + i);
    problem.pad_begin[axis] = arguments.padding[2 * i];
    problem.pad_end[axis] = arguments.padding[2 * i + 1];
  }
  problem.check_arguments();
}

void check_weight(const Tensor& input, const Tensor& weight) {
  if (weight.dim() < 3)
    fail("conv: weight should have at least three dimensions, but got weight of size " +
         sizes_text(weight));
  if (weight.dim() != input.dim())
    fail("conv: Expected " + std::to_string(weight.dim()) + "-dimensional input for " +
         std::to_string(weight.dim()) + "-dimensional weight " + sizes_text(weight) +
         ", but got input of size " + sizes_text(input));
  check_same(input, "input", weight, "weight", "conv");
}

void check_bias(const std::optional<Tensor>& bias, const Tensor& input, const Tensor& weight,
                int64_t channels) {
  if (!bias) return;
  check_same(input, "input", *bias, "bias", "conv");
  if (bias->dim() != 1 || bias->size(0) != channels)
    fail("conv: Given weight of size " + sizes_text(weight) +
         ", expected bias to be 1-dimensional with " + std::to_string(channels) +
         " elements, but got bias of size " + sizes_text(*bias) + " instead");
}

// The gradient given must fit the output that input and filter make. It may be smaller at the end
// of an axis: a transposed convolution's output_padding may reach past its stride.
void check_output(ConvProblem& problem, const Tensor& grad_output) {
  problem.set_output();
  const Extent3 given = spatial_sizes(grad_output);
  bool fits = grad_output.size(1) == problem.k && grad_output.size(0) == problem.n;
  for (int axis = 0; axis < 3; ++axis) fits = fits && given[axis] <= problem.output[axis];
  if (!fits) {
    std::string expected;
    for (const int64_t size :
         tensor_sizes(problem.n, problem.k, problem.output, problem.spatial_dims))
      expected += (expected.empty() ? "[" : ", ") + std::to_string(size);
    fail("conv: expected grad_output of size " + expected + "], but got " +
         sizes_text(grad_output));
  }
  problem.output = given;
  problem.validate();
}

}  // namespace

ConvProblem forward_problem(const Tensor& input, const Tensor& weight,
                            const std::optional<Tensor>& bias, const ConvArguments& arguments) {
  check_rank(input, "input", "conv");
  check_weight(input, weight);
  ConvProblem problem;
  problem.direction = ConvDirection::fprop;
  problem.dtype = dtype_of(input, "input");
  problem.layout = common_layout(input, weight);
  problem.spatial_dims = static_cast<int>(input.dim() - 2);
  set_arguments(problem, arguments);
  problem.n = input.size(0), problem.c = input.size(1), problem.k = weight.size(0);
  if (problem.k < problem.groups || problem.k % problem.groups != 0)
    fail("conv: Given groups=" + std::to_string(problem.groups) + ", expected weight to be " +
         (problem.k < problem.groups ? "at least " : "divisible by ") +
         std::to_string(problem.groups) + " at dimension 0, but got weight of size " +
         sizes_text(weight) + " instead");
  if (problem.c != weight.size(1) * problem.groups)
    fail("conv: Given groups=" + std::to_string(problem.groups) + ", weight of size " +
         sizes_text(weight) + ", expected input" + sizes_text(input) + " to have " +
         std::to_string(weight.size(1) * problem.groups) + " channels, but got " +
         std::to_string(problem.c) + " channels instead");
  check_bias(bias, input, weight, problem.k);
  problem.input = spatial_sizes(input);
  problem.filter = spatial_sizes(weight);
  problem.set_output();
  problem.validate();
  return problem;
}

ConvProblem input_grad_problem(const Tensor& grad_output, const Tensor& weight,
                               const std::optional<Tensor>& bias, const IntList& input_size,
                               const ConvArguments& arguments) {
  check_rank(grad_output, "grad_output", "conv");
  check_weight(grad_output, weight);
  ConvProblem problem;
  problem.direction = ConvDirection::dgrad;
  problem.dtype = dtype_of(grad_output, "grad_output");
  problem.layout = common_layout(grad_output, weight);
  problem.spatial_dims = static_cast<int>(grad_output.dim() - 2);
  set_arguments(problem, arguments);
  problem.n = grad_output.size(0), problem.k = weight.size(0);
  problem.c = weight.size(1) * problem.groups;
  if (grad_output.size(1) != problem.k)
    fail("conv: Given transposed=1, weight of size " + sizes_text(weight) + ", expected input" +
         sizes_text(grad_output) + " to have " + std::to_string(problem.k) + " channels, but got " +
         std::to_string(grad_output.size(1)) + " channels instead");
  check_bias(bias, grad_output, weight, problem.c);
  problem.input =
      extent(input_size, static_cast<size_t>(problem.spatial_dims), "input_size", "conv");
  problem.filter = spatial_sizes(weight);
  check_output(problem, grad_output);
  return problem;
}

ConvProblem weight_grad_problem(const Tensor& grad_output, const Tensor& input,
                                const IntList& kernel_size, const ConvArguments& arguments) {
  check_rank(input, "input", "conv");
  if (grad_output.dim() != input.dim())
    fail("conv: expected grad_output of " + std::to_string(input.dim()) +
         " dimensions, but got size " + sizes_text(grad_output));
  check_same(input, "input", grad_output, "grad_output", "conv");
  ConvProblem problem;
  problem.direction = ConvDirection::wgrad;
  problem.dtype = dtype_of(input, "input");
  problem.layout = common_layout(grad_output, input);
  problem.spatial_dims = static_cast<int>(input.dim() - 2);
  set_arguments(problem, arguments);
  problem.n = input.size(0), problem.c = input.size(1), problem.k = grad_output.size(1);
  problem.input = spatial_sizes(input);
  problem.filter =
      extent(kernel_size, static_cast<size_t>(problem.spatial_dims), "kernel_size", "conv");
  check_output(problem, grad_output);
  return problem;
}

}  // namespace cnnkern
