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

/// RuntimeError in Python.
[[noreturn]] void fail(const std::string& message);

inline void* read_pointer(const Tensor& tensor) {
  return const_cast<void*>(tensor.const_data_ptr());
}

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
Tensor allocate_indices(const IntList& sizes, const Tensor& like, Layout layout);  // int64
Tensor allocate_offsets(const IntList& sizes, const Tensor& like, Layout layout);  // uint8

/// {n, c, spatial…} with only the spatial dimensions that the problem has.
IntList tensor_sizes(int64_t n, int64_t c, const Extent3& spatial, int spatial_dims);

/// One entry per spatial dimension, into the last axes of three.
Extent3 extent(const IntList& list, size_t spatial_dims, const char* name, const char* op);
Extent3 spatial_sizes(const Tensor& tensor);
void check_rank(const Tensor& tensor, const char* name, const char* op);
/// The same dtype, on the same device.
void check_same(const Tensor& a, const char* a_name, const Tensor& b, const char* b_name,
                const char* op);

}  // namespace cnnkern
