// A device type for PyTorch whose GPUs are the emulator's: two devices, each with streams, memory
// from malloc. It is PrivateUse1, which PyTorch prefers as the accelerator where it is registered,
// so that csrc/torch/bindings_cuda.cpp meets its guards, its current streams and its allocator.
#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <cuda_runtime.h>
#include <torch/library.h>

#include <array>
#include <cstdlib>

#include "common/autotune.h"
#include "emulator/gpus.h"

namespace cnnkern::standin {
namespace {

using emulator::gpu_count;

constexpr c10::DeviceType type = c10::DeviceType::PrivateUse1;

void check(cudaError_t error) { TORCH_CHECK(error == cudaSuccess, cudaGetErrorString(error)); }

c10::Device current_device() {
  int device = 0;
  check(cudaGetDevice(&device));
  return {type, static_cast<c10::DeviceIndex>(device)};
}

// A stream's id is its handle; 0 is the device's default stream.
cudaStream_t handle(c10::Stream stream) { return reinterpret_cast<cudaStream_t>(stream.id()); }

c10::Stream stream_of(c10::Device device, cudaStream_t handle) {
  return c10::Stream(c10::Stream::UNSAFE, device, reinterpret_cast<c10::StreamId>(handle));
}

thread_local std::array<cudaStream_t, gpu_count> current_streams{};

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return standin::type; }
  c10::Device getDevice() const override { return current_device(); }
  void setDevice(c10::Device device) const override { check(cudaSetDevice(device.index())); }
  void uncheckedSetDevice(c10::Device device) const noexcept override {
    cudaSetDevice(device.index());
  }
  c10::Device exchangeDevice(c10::Device device) const override {
    const c10::Device before = current_device();
    if (device != before) setDevice(device);
    return before;
  }
  c10::DeviceIndex deviceCount() const noexcept override { return gpu_count; }

  c10::Stream getStream(c10::Device device) const override {
    return stream_of(device, current_streams.at(static_cast<size_t>(device.index())));
  }
  c10::Stream getDefaultStream(c10::Device device) const override {
    return stream_of(device, nullptr);
  }
  c10::Stream getNewStream(c10::Device device, int) const override {
    const c10::DeviceGuard guard(device);
    cudaStream_t stream = nullptr;
    check(cudaStreamCreate(&stream));
    return stream_of(device, stream);
  }
  c10::Stream exchangeStream(c10::Stream stream) const override {
    auto& current = current_streams.at(static_cast<size_t>(stream.device_index()));
    return stream_of(stream.device(), std::exchange(current, handle(stream)));
  }
  void* getStreamNativeHandle(const c10::Stream stream) const override { return handle(stream); }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream& stream) const override {
    check(cudaStreamSynchronize(handle(stream)));
  }
};

struct Allocator final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    emulator::log_call({.function = "allocate", .device = current_device().index()});
    void* memory = bytes == 0 ? nullptr : std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    return {memory, memory, &std::free, current_device()};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &std::free; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    std::memcpy(to, from, bytes);
  }
};

// Autograd asks for these.
struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
};

Allocator allocator;
Hooks hooks;
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard)

const c10::DispatchKeySet keys(c10::DispatchKey::PrivateUse1);

at::Tensor empty(at::IntArrayRef sizes, std::optional<at::ScalarType> dtype,
                 std::optional<at::Layout>, std::optional<at::Device> device, std::optional<bool>,
                 std::optional<at::MemoryFormat> format) {
  const c10::OptionalDeviceGuard guard(device);
  return at::detail::empty_generic(sizes, &allocator, keys, c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(at::IntArrayRef sizes, at::IntArrayRef strides,
                         std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                         std::optional<at::Device> device, std::optional<bool>) {
  const c10::OptionalDeviceGuard guard(device);
  return at::detail::empty_strided_generic(sizes, strides, &allocator, keys,
                                           c10::dtype_or_default(dtype));
}

/// The same memory as a tensor that the CPU may touch.
at::Tensor on_cpu(const at::Tensor& tensor) {
  return at::from_blob(tensor.data_ptr(), tensor.sizes(), tensor.strides(),
                       tensor.options().device(at::kCPU));
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool) {
  on_cpu(to).copy_(on_cpu(from));
  return to;
}

at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  TORCH_CHECK(from.sizes() == to.sizes(), "the stand-in resizes no tensors");
  return copy_from(from, to, false);
}

void cpu_fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  at::native::cpu_fallback(op, stack);
}

/// A line a call: function, device, stream, kernel, error.
std::vector<std::string> close_log() {
  std::vector<std::string> lines;
  for (const emulator::RuntimeCall& call : emulator::close_log())
    lines.push_back(call.function + "\t" + std::to_string(call.device) + "\t" +
                    std::to_string(reinterpret_cast<intptr_t>(call.stream)) + "\t" + call.kernel +
                    "\t" + std::to_string(call.error));
  return lines;
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("as_strided", &at::native::as_strided_tensorimpl);
  m.impl("view", &at::native::view);
  m.impl("_copy_from", &copy_from);
  m.impl("_copy_from_and_resize", &copy_from_and_resize);
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&cpu_fallback>());
}

TORCH_LIBRARY(standin, m) {
  m.def("open_log() -> ()", &emulator::open_log);
  m.def("close_log() -> str[]", &close_log);
  m.def("set_gpu(int device, str name) -> ()", [](int64_t device, std::string name) {
    emulator::set_gpu(static_cast<int>(device), *find_device(name));
  });
  m.def("begin_capture(int device) -> ()", [](int64_t device) {
    emulator::begin_capture(current_streams.at(static_cast<size_t>(device)));
  });
  m.def("end_capture() -> ()", &emulator::end_capture);
  m.def("set_autotune(bool on) -> ()", &autotune::enable);
}

const bool registered = [] {
  c10::SetAllocator(type, &allocator);
  c10::register_privateuse1_backend("standin");
  at::RegisterPrivateUse1HooksInterface(&hooks);
  return true;
}();

}  // namespace
}  // namespace cnnkern::standin
