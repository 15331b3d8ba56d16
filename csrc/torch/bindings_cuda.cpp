// The operators on CUDA tensors: the current stream, torch's allocator for workspaces.
#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>

#include <map>
#include <mutex>

#include "common/autotune.h"
#include "common/problem_string.h"
#include "common/trace.h"
#include "cuda/conv/conv_launch.h"
#include "cuda/conv/conv_plan.h"
#include "cuda/pool/pool_launch.h"
#include "torch/forced_kernel.h"
#include "torch/operators.h"
#include "torch/plan_text.h"
#include "torch/tf32_setting.h"

namespace cnnkern {
namespace {

void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess)
    throw std::runtime_error(std::string("cnnkern: ") + what + ": " + cudaGetErrorString(error));
}

// Read once a device: asking the driver takes longer than planning.
const DeviceCaps& caps_of(int device) {
  static std::mutex mutex;
  static std::map<int, DeviceCaps> known;
  const std::lock_guard lock(mutex);
  if (const auto found = known.find(device); found != known.end()) return found->second;
  const auto get = [&](cudaDeviceAttr attribute) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, attribute, device), "reading the device's properties");
    return value;
  };
  DeviceCaps caps{};
  caps.name = "this GPU";
  caps.product = "";
  caps.arch = 10 * get(cudaDevAttrComputeCapabilityMajor) + get(cudaDevAttrComputeCapabilityMinor);
  caps.multiprocessors = get(cudaDevAttrMultiProcessorCount);
  caps.threads_per_multiprocessor = get(cudaDevAttrMaxThreadsPerMultiProcessor);
  caps.blocks_per_multiprocessor = get(cudaDevAttrMaxBlocksPerMultiprocessor);
  caps.registers_per_multiprocessor = get(cudaDevAttrMaxRegistersPerMultiprocessor);
  caps.shared_per_multiprocessor = get(cudaDevAttrMaxSharedMemoryPerMultiprocessor);
  caps.shared_per_block = get(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  caps.l2_bytes = get(cudaDevAttrL2CacheSize);
  return known.emplace(device, caps).first->second;
}

struct CudaBackend {
  static cudaStream_t stream(int device) {
    return static_cast<cudaStream_t>(
        torch::stable::accelerator::getCurrentStream(device).nativeHandle());
  }

  static void run(const ConvPlan& plan, const ConvProblem& problem, const ConvTensors& tensors,
                  const Tensor& like) {
    const Tensor workspace =
        torch::stable::empty(IntList{plan.workspace_bytes}, torch::headeronly::ScalarType::Byte,
                             std::nullopt, like.device());
    ConvTensors arguments = tensors;
    arguments.workspace = workspace.mutable_data_ptr();
    CNNKERN_CUDA_NAMESPACE::launch_conv(plan, problem, arguments, stream(like.get_device_index()));
  }

  // Empty while a graph is captured: nothing can be timed then.
  static std::string tuned_kernel(const ConvProblem& problem, const ConvTensors& tensors,
                                  const Tensor& like) {
    const int device = like.get_device_index();
    cudaStreamCaptureStatus status;
    check(cudaStreamIsCapturing(stream(device), &status), "asking whether a graph is captured");
    if (status != cudaStreamCaptureStatusNone) return "";
    const DeviceCaps& caps = caps_of(device);
    const std::string key =
        "cuda sm_" + std::to_string(caps.arch) + ", " + std::to_string(caps.multiprocessors) +
        " multiprocessors: " + to_string(problem) + (problem.aligned ? "" : ", not on 16 bytes");
    const auto plan = [&](const std::string& kernel) { return plan_conv(problem, caps, kernel); };
    const auto names = [&] { return conv_kernels_for(problem, caps); };
    const auto timed = [&](const std::string& kernel, int times) {
      const ConvPlan planned = plan(kernel);
      for (int i = 0; i < times; ++i) run(planned, problem, tensors, like);
      check(cudaStreamSynchronize(stream(device)), "waiting for a kernel that is timed");
    };
    return autotune::fastest(key, {names, plan, timed});
  }

  static void conv(const ConvProblem& given, const ConvTensors& tensors, const Tensor& like) {
    ConvProblem problem = given;
    if (problem.dtype == DType::float32) {
      problem.tf32 = torch_allows_tf32();
      problem.aligned = CNNKERN_CUDA_NAMESPACE::lie_on_16_bytes(tensors);
    }
    const int device = like.get_device_index();
    const torch::stable::accelerator::DeviceGuard guard(device);
    const bool tune = autotune::enabled() && forced_conv_kernel().empty();
    const ConvPlan plan =
        plan_conv(problem, caps_of(device),
                  tune ? tuned_kernel(problem, tensors, like) : forced_conv_kernel());
    trace::launched("cuda." + plan.kernel,
                    [&] { return to_string(problem) + " -> cuda." + to_string(plan); });
    run(plan, problem, tensors, like);
  }

  static void bias_grad(const ConvProblem& problem, const void* grad_output, void* grad_bias,
                        const Tensor& like) {
    const int device = like.get_device_index();
    const torch::stable::accelerator::DeviceGuard guard(device);
    ConvTensors tensors;
    tensors.output = const_cast<void*>(grad_output);
    tensors.bias = grad_bias;
    trace::count("cuda.bias_grad");
    CNNKERN_CUDA_NAMESPACE::launch_bias_grad(problem, tensors, stream(device));
  }

  static void pool(const PoolProblem& problem, const PoolTensors& tensors, const Tensor& like) {
    const int device = like.get_device_index();
    const torch::stable::accelerator::DeviceGuard guard(device);
    const PoolPlan plan = plan_pool(problem, caps_of(device), forced_pool_kernel());
    trace::launched("cuda." + plan.kernel,
                    [&] { return to_string(problem) + " -> cuda." + to_string(plan); });
    CNNKERN_CUDA_NAMESPACE::launch_pool(plan, problem, tensors, stream(device));
  }

  static void avg_pool(const AvgPoolProblem& problem, const AvgPoolTensors& tensors,
                       const Tensor& like) {
    const int device = like.get_device_index();
    const torch::stable::accelerator::DeviceGuard guard(device);
    const PoolPlan plan = plan_avg_pool(problem, caps_of(device), forced_avg_pool_kernel());
    trace::launched("cuda." + plan.kernel,
                    [&] { return to_string(problem) + " -> cuda." + to_string(plan); });
    CNNKERN_CUDA_NAMESPACE::launch_avg_pool(plan, problem, tensors, stream(device));
  }

  static void unfold(const UnfoldProblem& problem, const UnfoldTensors& tensors,
                     const Tensor& like) {
    const int device = like.get_device_index();
    const torch::stable::accelerator::DeviceGuard guard(device);
    const PoolPlan plan = plan_unfold(problem, caps_of(device), forced_unfold_kernel());
    trace::launched("cuda." + plan.kernel,
                    [&] { return to_string(problem) + " -> cuda." + to_string(plan); });
    CNNKERN_CUDA_NAMESPACE::launch_unfold(plan, problem, tensors, stream(device));
  }

  static void window_pool(const WindowPoolProblem& problem, const WindowPoolTensors& tensors,
                          const Tensor& like) {
    const int device = like.get_device_index();
    const torch::stable::accelerator::DeviceGuard guard(device);
    const PoolPlan plan = plan_window_pool(problem, caps_of(device), forced_window_pool_kernel());
    trace::launched("cuda." + plan.kernel,
                    [&] { return to_string(problem) + " -> cuda." + to_string(plan); });
    CNNKERN_CUDA_NAMESPACE::launch_window_pool(plan, problem, tensors, stream(device));
  }
};

}  // namespace
}  // namespace cnnkern

// Tests compile this file for a stand-in GPU, which PyTorch knows by another key.
#if !defined(CNNKERN_CUDA_DISPATCH_KEY)
#define CNNKERN_CUDA_DISPATCH_KEY CUDA
#endif

STABLE_TORCH_LIBRARY_IMPL(cnnkern, CNNKERN_CUDA_DISPATCH_KEY, m) {
  cnnkern::register_operators<cnnkern::CudaBackend>(m);
}
