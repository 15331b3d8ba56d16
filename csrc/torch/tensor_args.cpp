#include "torch/tensor_args.h"

#include <stdexcept>

namespace cnnkern {
namespace {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;

[[noreturn]] void fail(const std::string& message) { throw std::runtime_error(message); }

MemoryFormat memory_format(int64_t dims, Layout layout) {
  if (layout == Layout::nchw) return MemoryFormat::Contiguous;
  return dims == 4 ? MemoryFormat::ChannelsLast : MemoryFormat::ChannelsLast3d;
}

// Strides grow in the order C, W, H, (D,) N. Ambiguous cases (such as C = 1 stored contiguously)
// count as contiguous, as in PyTorch's suggested memory format.
bool is_channels_last(const Tensor& tensor) {
  const int64_t dims = tensor.dim();
  if (dims != 4 && dims != 5) return false;
  const auto sizes = tensor.sizes();
  const auto strides = tensor.strides();
  if (strides[1] == 0) return false;
  int64_t least = 0;
  for (int64_t step = 0; step < dims; ++step) {
    const size_t axis = step == 0 ? 1 : step == dims - 1 ? 0 : static_cast<size_t>(dims - step);
    if (sizes[axis] == 0 || strides[axis] < least) return false;
    if (axis == 0 && least == strides[1]) return false;
    least = strides[axis] * (sizes[axis] > 1 ? sizes[axis] : 1);
  }
  return true;
}

Extent3 extent(const IntList& list, size_t spatial_dims, const char* name, const char* op) {
  if (list.size() != spatial_dims)
    fail(std::string(op) + ": expected " + name + " to be a single integer value or a list of " +
         std::to_string(spatial_dims) + " values, but got " + std::to_string(list.size()) +
         " values");
  Extent3 result;
  for (size_t i = 0; i < spatial_dims; ++i)
    result[static_cast<int>(3 - spatial_dims + i)] = list[i];
  return result;
}

Extent3 spatial_sizes(const Tensor& tensor) {
  Extent3 result;
  const int64_t dims = tensor.dim();
  for (int64_t axis = 2; axis < dims; ++axis)
    result[static_cast<int>(3 - dims + axis)] = tensor.size(axis);
  return result;
}

void check_rank(const Tensor& tensor, const char* name, const char* op) {
  if (tensor.dim() < 3 || tensor.dim() > 5)
    fail(std::string(op) + ": expected " + name +
         " of 3, 4 or 5 dimensions (N, C, *spatial), but got size: " + sizes_text(tensor));
}

void check_same(const Tensor& a, const char* a_name, const Tensor& b, const char* b_name,
                const char* op) {
  if (a.scalar_type() != b.scalar_type())
    fail(std::string(op) + ": Input type (" + to_string(dtype_of(a, a_name)) + ") and " + b_name +
         " type (" + to_string(dtype_of(b, b_name)) + ") should be the same; convert one of them");
  if (a.device() != b.device())
    fail(std::string(op) + ": Expected all tensors to be on the same device, but " + a_name +
         " and " + b_name + " are on different ones; move one of them");
}

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
  if (problem.groups <= 0)
    fail("conv: non-positive groups is not supported: groups is " + std::to_string(problem.groups) +
         "; use 1 or more");
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

DType dtype_of(const Tensor& tensor, const char* name) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return DType::float32;
    case ScalarType::Double: return DType::float64;
    case ScalarType::Half: return DType::float16;
    case ScalarType::BFloat16: return DType::bfloat16;
    default:
      fail(std::string("cnnkern: ") + name + " has dtype " +
           torch::headeronly::toString(tensor.scalar_type()) +
           ", but float32, float64, float16 or bfloat16 is expected; convert it with .to()");
  }
}

std::string sizes_text(const Tensor& tensor) {
  std::string text = "[";
  for (const int64_t size : tensor.sizes())
    text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

Layout common_layout(const Tensor& a, const Tensor& b) {
  return is_channels_last(a) || is_channels_last(b) ? Layout::nhwc : Layout::nchw;
}

Tensor in_layout(const Tensor& tensor, Layout layout) {
  return torch::stable::contiguous(tensor, memory_format(tensor.dim(), layout));
}

Tensor allocate(const IntList& sizes, const Tensor& like, Layout layout) {
  return torch::stable::empty(sizes, like.scalar_type(), std::nullopt, like.device(), std::nullopt,
                              memory_format(static_cast<int64_t>(sizes.size()), layout));
}

Tensor allocate_indices(const IntList& sizes, const Tensor& like, Layout layout) {
  return torch::stable::empty(sizes, ScalarType::Long, std::nullopt, like.device(), std::nullopt,
                              memory_format(static_cast<int64_t>(sizes.size()), layout));
}

IntList tensor_sizes(int64_t n, int64_t c, const Extent3& spatial, int spatial_dims) {
  IntList sizes = {n, c};
  for (int axis = 3 - spatial_dims; axis < 3; ++axis) sizes.push_back(spatial[axis]);
  return sizes;
}

ConvProblem forward_problem(const Tensor& input, const Tensor& weight,
                            const std::optional<Tensor>& bias, const ConvArguments& arguments) {
  check_rank(input, "input", "conv");
  if (weight.dim() != input.dim())
    fail("conv: expected weight of " + std::to_string(input.dim()) +
         " dimensions to match input of size " + sizes_text(input) + ", but got weight of size " +
         sizes_text(weight));
  check_same(input, "input", weight, "weight", "conv");
  ConvProblem problem;
  problem.direction = ConvDirection::fprop;
  problem.dtype = dtype_of(input, "input");
  problem.layout = common_layout(input, weight);
  problem.spatial_dims = static_cast<int>(input.dim() - 2);
  set_arguments(problem, arguments);
  problem.n = input.size(0), problem.c = input.size(1), problem.k = weight.size(0);
  if (problem.c != weight.size(1) * problem.groups)
    fail("conv: Given groups=" + std::to_string(problem.groups) + ", weight of size " +
         sizes_text(weight) + ", expected input" + sizes_text(input) + " to have " +
         std::to_string(weight.size(1) * problem.groups) + " channels, but got " +
         std::to_string(problem.c) + " channels instead");
  if (problem.k < problem.groups || problem.k % problem.groups != 0)
    fail("conv: Given groups=" + std::to_string(problem.groups) + ", expected weight to be " +
         (problem.k < problem.groups ? "at least " : "divisible by ") +
         std::to_string(problem.groups) + " at dimension 0, but got weight of size " +
         sizes_text(weight) + " instead");
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
  if (weight.dim() != grad_output.dim())
    fail("conv: expected weight of " + std::to_string(grad_output.dim()) +
         " dimensions to match input of size " + sizes_text(grad_output) +
         ", but got weight of size " + sizes_text(weight));
  check_same(grad_output, "input", weight, "weight", "conv");
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

void check_indices(const Tensor& indices) {
  if (indices.scalar_type() != ScalarType::Long)
    fail(std::string("max_pool: expected indices of dtype int64, but got ") +
         torch::headeronly::toString(indices.scalar_type()));
}

}  // namespace

PoolProblem pool_forward_problem(const Tensor& input, const PoolArguments& arguments) {
  check_rank(input, "input", "max_pool");
  PoolProblem problem = pool_problem(input, arguments);
  problem.layout = common_layout(input, input);
  problem.input = spatial_sizes(input);
  if (problem.c == 0 || problem.input.volume() == 0)
    fail("max_pool: expected a tensor with optional 0 dim batch size for input, but got:" +
         sizes_text(input) + "; channels and sizes must not be 0");
  problem.set_output();
  return problem;
}

PoolProblem pool_backward_problem(const Tensor& grad_output, const Tensor& indices,
                                  const IntList& input_size, const PoolArguments& arguments) {
  check_rank(grad_output, "grad_output", "max_pool");
  check_indices(indices);
  PoolProblem problem = pool_problem(grad_output, arguments);
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

PoolProblem pool_gather_problem(const Tensor& input, const Tensor& indices) {
  check_rank(input, "input", "max_pool");
  check_indices(indices);
  if (indices.dim() != input.dim() || indices.size(0) != input.size(0) ||
      indices.size(1) != input.size(1))
    fail("max_pool: indices of size " + sizes_text(indices) + " do not belong to input of size " +
         sizes_text(input));
  PoolProblem problem;
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
