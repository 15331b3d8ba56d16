#include "torch/tensor_args.h"

#include <stdexcept>

namespace cnnkern {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;

namespace {

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

}  // namespace

void fail(const std::string& message) { throw std::runtime_error(message); }

DType dtype_of(const Tensor& tensor, const char* name) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return DType::float32;
    case ScalarType::Double: return DType::float64;
    case ScalarType::Half: return DType::float16;
    case ScalarType::BFloat16: return DType::bfloat16;
    case ScalarType::Byte: return DType::uint8;
    case ScalarType::Char: return DType::int8;
    case ScalarType::Short: return DType::int16;
    case ScalarType::Int: return DType::int32;
    case ScalarType::Long: return DType::int64;
    default:
      fail(std::string("cnnkern: ") + name + " has dtype " +
           torch::headeronly::toString(tensor.scalar_type()) +
           ", but float32, float64, float16, bfloat16 or (on the CPU) an integer type is expected; "
           "convert it with .to()");
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

}  // namespace cnnkern
