#include "emulator/arch_path.h"

#include "cuda/conv/conv_launch.h"
#include "cuda/pool/pool_launch.h"
#include "emulator/tensors.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

namespace {

using emulator::TensorScope;

void emulate_conv(const ConvPlan& plan, const ConvProblem& p, const ConvTensors& tensors) {
  const int64_t size = size_of(p.dtype);
  const bool dgrad = p.direction == ConvDirection::dgrad;
  const TensorScope scope({
      {"input", tensors.input, size, p.input_elements(), dgrad},
      {"weight", tensors.weight, size, p.weight_elements(), p.direction == ConvDirection::wgrad},
      {"output", tensors.output, size, p.output_elements(), p.direction == ConvDirection::fprop},
      {"bias", tensors.bias, size,
       tensors.bias == nullptr ? 0
       : dgrad                 ? p.c
                               : p.k,
       false},
      {"residual", tensors.residual, size, tensors.residual ? p.output_elements() : 0, false},
      {"preactivation", tensors.preactivation, size,
       tensors.preactivation ? p.output_elements() : 0, true},
      {"workspace", tensors.workspace, 4, plan.workspace_bytes / 4, true},
  });
  launch_conv(plan, p, tensors, nullptr);
}

void emulate_bias_grad(const ConvProblem& p, const ConvTensors& tensors) {
  const int64_t size = size_of(p.dtype);
  const TensorScope scope({{"grad_output", tensors.output, size, p.output_elements(), false},
                           {"grad_bias", tensors.bias, size, p.k, true}});
  launch_bias_grad(p, tensors, nullptr);
}

void emulate_pool(const PoolPlan& plan, const PoolProblem& p, const PoolTensors& tensors) {
  const int64_t size = size_of(p.dtype);
  const bool backward = p.direction == PoolDirection::backward;
  const bool forward = p.direction == PoolDirection::forward;
  const TensorScope scope({
      {"input", tensors.input, size, p.input_elements(), backward},
      {"output", tensors.output, size, p.output_elements(), !backward},
      {"indices", tensors.indices, 8, tensors.indices == nullptr ? 0 : p.output_elements(),
       forward},
      {"offsets", tensors.offsets, 1, tensors.offsets == nullptr ? 0 : p.output_elements(),
       forward},
  });
  launch_pool(plan, p, tensors, nullptr);
}

void emulate_avg_pool(const PoolPlan& plan, const AvgPoolProblem& p,
                      const AvgPoolTensors& tensors) {
  const int64_t size = size_of(p.dtype);
  const bool backward = p.direction == AvgPoolDirection::backward;
  const TensorScope scope({
      {"input", tensors.input, size, p.input_elements(), backward},
      {"output", tensors.output, size, p.output_elements(), !backward},
  });
  launch_avg_pool(plan, p, tensors, nullptr);
}

void emulate_unfold(const PoolPlan& plan, const UnfoldProblem& p, const UnfoldTensors& tensors) {
  const int64_t size = size_of(p.dtype);
  const TensorScope scope(
      {{"image", tensors.image, size, p.image_elements() * p.parts, p.fold()},
       {"columns", tensors.columns, size, p.column_elements() * p.parts, !p.fold()}});
  launch_unfold(plan, p, tensors, nullptr);
}

void emulate_window_pool(const PoolPlan& plan, const WindowPoolProblem& p,
                         const WindowPoolTensors& tensors) {
  const int64_t size = size_of(p.dtype);
  const bool forward = p.direction == WindowPoolDirection::forward;
  const TensorScope scope({
      {"input", tensors.input, size, p.input_elements(), !forward},
      {"output", tensors.output, size, p.output_elements(), forward},
      {"indices", tensors.indices, 8, p.output_elements(), forward},
      {"samples", tensors.samples, size, p.sample_elements(), false},
  });
  launch_window_pool(plan, p, tensors, nullptr);
}

}  // namespace

ArchPath arch_path() {
  return {find_device("sm_" + std::to_string(CNNKERN_ARCH / 10)),
          emulate_conv,
          emulate_bias_grad,
          emulate_pool,
          emulate_avg_pool,
          emulate_unfold,
          emulate_window_pool};
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
