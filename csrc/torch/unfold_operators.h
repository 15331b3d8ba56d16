// Unfold and fold: tensor -> problem -> backend -> tensor.
#pragma once

#include <torch/csrc/stable/library.h>

#include "torch/unfold_args.h"

namespace cnnkern {

template <class Backend>
Tensor unfold(const Tensor& input, const IntList& kernel_size, const IntList& stride,
              const IntList& padding, const IntList& dilation) {
  const UnfoldProblem problem = unfold_problem(input, {kernel_size, stride, padding, dilation});
  const Tensor image = in_layout(input, Layout::nchw);
  Tensor columns =
      allocate({problem.n, problem.rows(), problem.blocks.volume()}, input, Layout::nchw);
  if (problem.n > 0)
    Backend::unfold(problem, {read_pointer(image), columns.mutable_data_ptr()}, input);
  return columns;
}

template <class Backend>
Tensor fold(const Tensor& input, const IntList& output_size, const IntList& kernel_size,
            const IntList& stride, const IntList& padding, const IntList& dilation) {
  const UnfoldProblem problem =
      fold_problem(input, output_size, {kernel_size, stride, padding, dilation});
  const Tensor columns = in_layout(input, Layout::nchw);
  Tensor image =
      allocate({problem.n, problem.c, problem.image.h, problem.image.w}, input, Layout::nchw);
  if (problem.n > 0)
    Backend::unfold(problem, {image.mutable_data_ptr(), read_pointer(columns)}, input);
  return image;
}

template <class Backend>
void register_unfold_operators(torch::stable::detail::StableLibrary& m) {
  m.impl("unfold", TORCH_BOX(&unfold<Backend>));
  m.impl("fold", TORCH_BOX(&fold<Backend>));
}

}  // namespace cnnkern
