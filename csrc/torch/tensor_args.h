// Tensors to problems: the checks that need a tensor, the one rule for memory formats, allocation.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "common/conv_problem.h"
#include "common/pool_problem.h"

namespace cnnkern {

using torch::stable::Tensor;
using IntList = std::vector<int64_t>;

/// Throws RuntimeError in Python for an element type no kernel takes.
DType dtype_of(const Tensor& tensor, const char* name);

/// "[2, 3, 8, 8]"
std::string sizes_text(const Tensor& tensor);

/// The one rule: channels last if one of the tensors is stored so, else contiguous; 1-d tensors
/// (N, C, W) are always contiguous. What counts as channels last is what PyTorch counts: the order
/// of the strides, with contiguous winning where both fit.
Layout common_layout(const Tensor& a, const Tensor& b);

/// The tensor itself if it is dense in that layout, else a copy that is.
Tensor in_layout(const Tensor& tensor, Layout layout);
Tensor allocate(const IntList& sizes, const Tensor& like, Layout layout);
Tensor allocate_indices(const IntList& sizes, const Tensor& like, Layout layout);

/// Fills the geometry that the three convolution operators share from the lists of a call.
struct ConvArguments {
  const IntList& stride;
  const IntList& padding;
  const IntList& dilation;
  int64_t groups;
};
ConvProblem forward_problem(const Tensor& input, const Tensor& weight,
                            const std::optional<Tensor>& bias, const ConvArguments& arguments);
ConvProblem input_grad_problem(const Tensor& grad_output, const Tensor& weight,
                               const std::optional<Tensor>& bias, const IntList& input_size,
                               const ConvArguments& arguments);
ConvProblem weight_grad_problem(const Tensor& grad_output, const Tensor& input,
                                const IntList& kernel_size, const ConvArguments& arguments);

struct PoolArguments {
  const IntList& kernel_size;
  const IntList& stride;
  const IntList& padding;
  const IntList& dilation;
  bool ceil_mode;
};
PoolProblem pool_forward_problem(const Tensor& input, const PoolArguments& arguments);
PoolProblem pool_backward_problem(const Tensor& grad_output, const Tensor& indices,
                                  const IntList& input_size, const PoolArguments& arguments);
PoolProblem pool_gather_problem(const Tensor& input, const Tensor& indices);

/// {n, c, spatial…} with only the spatial dimensions that the problem has.
IntList tensor_sizes(int64_t n, int64_t c, const Extent3& spatial, int spatial_dims);

}  // namespace cnnkern
