#include "emulator/tensors.h"

#include <string>
#include <utility>

#include "emulator/report.h"

namespace cnnkern::emulator {

constexpr AllowedRange everywhere{0, UINTPTR_MAX, true}, nowhere{0, 0, false};
constinit thread_local AllowedRange allowed_range = everywhere;

namespace {

constinit thread_local const Tensors* in_use = nullptr;

uintptr_t begin_of(const Tensor& tensor) { return reinterpret_cast<uintptr_t>(tensor.pointer); }

uintptr_t end_of(const Tensor& tensor) {
  return begin_of(tensor) + static_cast<uintptr_t>(tensor.elements * tensor.element_size);
}

uintptr_t distance(const Tensor& tensor, const void* pointer) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  if (address < begin_of(tensor)) return begin_of(tensor) - address;
  return address < end_of(tensor) ? 0 : address - end_of(tensor) + 1;
}

}  // namespace

TensorScope::TensorScope(Tensors tensors) : tensors_(std::move(tensors)), outer_(in_use) {
  use_tensors(&tensors_);
}

TensorScope::~TensorScope() { use_tensors(outer_); }

const Tensors* tensors_in_use() { return in_use; }

void use_tensors(const Tensors* tensors) {
  in_use = tensors;
  allowed_range = tensors == nullptr ? everywhere : nowhere;
}

const Tensor* nearest_tensor(const void* pointer) {
  const Tensor* nearest = nullptr;
  if (in_use != nullptr)
    for (const Tensor& tensor : *in_use)
      if (nearest == nullptr || distance(tensor, pointer) < distance(*nearest, pointer))
        nearest = &tensor;
  return nearest;
}

int64_t element_at(const Tensor& tensor, const void* pointer) {
  const auto bytes = static_cast<int64_t>(reinterpret_cast<uintptr_t>(pointer) - begin_of(tensor));
  return (bytes - (bytes < 0 ? tensor.element_size - 1 : 0)) / tensor.element_size;
}

void allow_tensor(Effect effect, const void* pointer, size_t bytes, Site site) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  const bool store = effect == Effect::store;
  const Tensor* read_only = nullptr;
  for (const Tensor& tensor : *in_use) {
    if (address < begin_of(tensor) || address + bytes > end_of(tensor)) continue;
    if (!store || tensor.writable) {
      allowed_range = {begin_of(tensor), end_of(tensor), tensor.writable};
      return;
    }
    read_only = &tensor;
  }
  if (read_only != nullptr)
    fail("store to '" + std::string(read_only->name) +
             "', which this launch may only read: " + describe(pointer, bytes),
         site);
  const Tensor* nearest = nearest_tensor(pointer);
  if (nearest == nullptr) fail("access to global memory by a launch that has no tensors", site);
  const auto* last = static_cast<const std::byte*>(pointer) + bytes - 1;
  const int64_t first_element = element_at(*nearest, pointer),
                last_element = element_at(*nearest, last);
  std::string elements = "element " + std::to_string(first_element);
  if (last_element > first_element)
    elements = "elements " + std::to_string(first_element) + " … " + std::to_string(last_element);
  fail((store ? "store" : "load") + std::string(" out of the bounds of '") + nearest->name +
           "': " + elements +
           (nearest->elements == 0 ? ", but it is empty"
                                   : ", allowed 0 … " + std::to_string(nearest->elements - 1)),
       site);
}

}  // namespace cnnkern::emulator
