// Tensors to unfold and fold problems.
#pragma once

#include "common/unfold_problem.h"
#include "torch/tensor_args.h"

namespace cnnkern {

struct UnfoldArguments {
  const IntList& kernel_size;
  const IntList& stride;
  const IntList& padding;
  const IntList& dilation;
};
UnfoldProblem unfold_problem(const Tensor& image, const UnfoldArguments& arguments);
UnfoldProblem fold_problem(const Tensor& columns, const IntList& output_size,
                           const UnfoldArguments& arguments);

}  // namespace cnnkern
