#include "emulator/arch_path.h"

#include "cuda/conv/conv_launch.h"
#include "cuda/pool/pool_launch.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

ArchPath arch_path() {
  return {find_device("sm_" + std::to_string(CNNKERN_ARCH / 10)),
          [](const ConvPlan& plan, const ConvProblem& problem, const ConvTensors& tensors) {
            launch_conv(plan, problem, tensors, nullptr);
          },
          [](const ConvProblem& problem, const ConvTensors& tensors) {
            launch_bias_grad(problem, tensors, nullptr);
          },
          [](const PoolPlan& plan, const PoolProblem& problem, const PoolTensors& tensors) {
            launch_pool(plan, problem, tensors, nullptr);
          }};
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
