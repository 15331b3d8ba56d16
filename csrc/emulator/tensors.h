// The tensors that a launch may touch. While the host has some registered, every access to global
// memory must lie inside one of them, and every store inside one that may be written; a report says
// which element of which tensor it was. A launch for which nothing is registered goes unchecked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "emulator/device.h"

namespace cnnkern::emulator {

struct Tensor {
  const char* name;
  const void* pointer;
  int64_t element_size, elements;
  bool writable;
};
using Tensors = std::vector<Tensor>;

/// While it lives, launches by this OS thread may touch these tensors alone.
class TensorScope {
 public:
  explicit TensorScope(Tensors tensors);
  ~TensorScope();
  TensorScope(const TensorScope&) = delete;
  TensorScope& operator=(const TensorScope&) = delete;

 private:
  const Tensors tensors_;
  const Tensors* const outer_;
};

/// What is registered for this OS thread, or null; blocks that run on others get it from use().
const Tensors* tensors_in_use();
void use_tensors(const Tensors* tensors);

/// The tensor that holds the pointer, or else the nearest one; null if none is registered.
const Tensor* nearest_tensor(const void* pointer);

/// The element at the pointer, which may lie outside: -1 is the last one before the tensor.
int64_t element_at(const Tensor& tensor, const void* pointer);

}  // namespace cnnkern::emulator
