#include "torch/tensor_args.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
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

// The strides that torch gives a new tensor of this layout.
IntList dense_strides(const IntList& sizes, Layout layout) {
  IntList strides(sizes.size(), 1);
  if (layout == Layout::nchw) {
    for (size_t axis = sizes.size() - 1; axis > 0; --axis)
      strides[axis - 1] = strides[axis] * std::max<int64_t>(sizes[axis], 1);
    return strides;
  }
  int64_t stride = sizes[1];
  for (size_t axis = sizes.size() - 1; axis > 1; --axis) {
    strides[axis] = stride;
    stride *= sizes[axis];
  }
  strides[0] = stride;
  return strides;
}

bool is_dense(const Tensor& tensor, Layout layout) {
  const auto given = tensor.sizes(), strides = tensor.strides();
  const IntList sizes(given.begin(), given.end()), wanted = dense_strides(sizes, layout);
  for (size_t axis = 0; axis < sizes.size(); ++axis)
    if (sizes[axis] != 1 && strides[axis] != wanted[axis]) return false;
  return true;
}

// A large tensor's memory comes fresh from the system, and touching it the first time costs a fault
// for each page: more than most kernels take. Pages of 2 MiB make that 512 times rarer. Only whole
// ones inside the tensor are asked for; where the system refuses, nothing is lost.
void prefer_huge_pages(const Tensor& fresh) {
#if defined(__linux__)
  constexpr uintptr_t page = uintptr_t{2} << 20, least = uintptr_t{4} << 20;
  const uintptr_t bytes = fresh.numel() * fresh.element_size();
  if (bytes < least) return;
  const auto data = reinterpret_cast<uintptr_t>(fresh.const_data_ptr());
  const uintptr_t begin = (data + page - 1) / page * page, end = (data + bytes) / page * page;
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)fresh;
#endif
}

// Not torch::stable::empty, which looks its operator up by name in every call.
Tensor allocate_as(const IntList& sizes, const Tensor& like, Layout layout, int32_t dtype) {
  const IntList strides = dense_strides(sizes, layout);
  int32_t device = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device));
  AtenTensorHandle result = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(static_cast<int64_t>(sizes.size()), sizes.data(),
                                                  strides.data(), dtype, device,
                                                  like.get_device_index(), &result));
  Tensor fresh(result);
  if (device == aoti_torch_device_type_cpu()) prefer_huge_pages(fresh);
  return fresh;
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
  // torch's contiguous() returns such a tensor itself too, but only after a trip to its dispatcher.
  if (is_dense(tensor, layout)) return tensor;
  return torch::stable::contiguous(tensor, memory_format(tensor.dim(), layout));
}

Tensor allocate(const IntList& sizes, const Tensor& like, Layout layout) {
  int32_t dtype = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(like.get(), &dtype));
  return allocate_as(sizes, like, layout, dtype);
}

Tensor allocate_indices(const IntList& sizes, const Tensor& like, Layout layout) {
  return allocate_as(sizes, like, layout, aoti_torch_dtype_int64());
}

Tensor allocate_offsets(const IntList& sizes, const Tensor& like, Layout layout) {
  return allocate_as(sizes, like, layout, aoti_torch_dtype_uint8());
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
