#include "torch/unfold_args.h"

namespace cnnkern {

using torch::headeronly::ScalarType;

namespace {

// "(3, 2)"
std::string pair(const Extent3& extent) {
  std::string text = "(";
  return text.append(std::to_string(extent.h)).append(", ").append(std::to_string(extent.w)) + ")";
}

std::string window(const UnfoldProblem& p) {
  return "kernel_size=" + pair(p.kernel) + ", dilation=" + pair(p.dilation) +
         ", padding=" + pair(p.pad);
}

UnfoldProblem problem_of(const Tensor& tensor, UnfoldDirection direction,
                         const UnfoldArguments& arguments) {
  const char* const op = to_string(direction);
  UnfoldProblem problem;
  problem.direction = direction;
  switch (tensor.scalar_type()) {
    case ScalarType::ComplexHalf: problem.dtype = DType::float16, problem.parts = 2; break;
    case ScalarType::ComplexFloat: problem.dtype = DType::float32, problem.parts = 2; break;
    case ScalarType::ComplexDouble: problem.dtype = DType::float64, problem.parts = 2; break;
    case ScalarType::Bool:
      if (problem.fold())
        fail("fold: input has dtype bool, whose sums are none; convert it with .to()");
      problem.dtype = DType::uint8;
      break;
    default: problem.dtype = dtype_of(tensor, "input");
  }
  problem.kernel = extent(arguments.kernel_size, 2, "kernel_size", op);
  problem.stride = extent(arguments.stride, 2, "stride", op);
  problem.dilation = extent(arguments.dilation, 2, "dilation", op);
  problem.pad = extent(arguments.padding, 2, "padding", op);
  problem.pad.d = 0;
  return problem;
}

}  // namespace

UnfoldProblem unfold_problem(const Tensor& image, const UnfoldArguments& arguments) {
  UnfoldProblem problem = problem_of(image, UnfoldDirection::unfold, arguments);
  problem.check_arguments();
  if (image.dim() != 4 || image.size(1) == 0 || image.size(2) == 0 || image.size(3) == 0)
    fail(
        "unfold: Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other "
        "non-zero dimensions for input, but got: " +
        sizes_text(image));
  problem.n = image.size(0), problem.c = image.size(1);
  problem.image = spatial_sizes(image);
  problem.check_arguments();
  problem.set_blocks();
  if (problem.blocks.h < 1 || problem.blocks.w < 1)
    fail("unfold: Given input with spatial size " + pair(problem.image) + ", " + window(problem) +
         ", calculated shape of the array of sliding blocks as " + pair(problem.blocks) +
         ", but its components must be at least one.");
  return problem;
}

UnfoldProblem fold_problem(const Tensor& columns, const IntList& output_size,
                           const UnfoldArguments& arguments) {
  UnfoldProblem problem = problem_of(columns, UnfoldDirection::fold, arguments);
  problem.image = extent(output_size, 2, "output_size", "fold");
  problem.check_arguments();
  if (columns.dim() != 3 || columns.size(1) == 0 || columns.size(2) == 0)
    fail(
        "fold: Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and "
        "non-zero dimensions for input, but got: " +
        sizes_text(columns));
  const int64_t rows = columns.size(1), taps = problem.kernel.volume();
  if (rows % taps != 0)
    fail(
        "fold: Expected size of input's dimension 1 to be divisible by the product of "
        "kernel_size, but got input.size(1)=" +
        std::to_string(rows) + " and kernel_size=" + pair(problem.kernel) + ".");
  problem.n = columns.size(0), problem.c = rows / taps;
  problem.set_blocks();
  const int64_t blocks = problem.blocks.volume();
  if (problem.blocks.h < 1 || problem.blocks.w < 1 || columns.size(2) != blocks)
    fail("fold: Given output_size=" + pair(problem.image) + ", " + window(problem) +
         ", stride=" + pair(problem.stride) +
         ", expected size of input's dimension 2 to match the calculated number of sliding "
         "blocks " +
         std::to_string(problem.blocks.h) + " * " + std::to_string(problem.blocks.w) + " = " +
         std::to_string(blocks) + ", but got input.size(2)=" + std::to_string(columns.size(2)) +
         ".");
  return problem;
}

}  // namespace cnnkern
