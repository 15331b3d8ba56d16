// Launchers of the direct kernels; the idea stands in direct.cuh.
#include "cuda/conv/direct.cuh"

#include "cuda/conv/conv_launch.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

template <class T>
void launch_direct(const ConvPlan& plan, const ConvProblem& problem, const ConvTensors& tensors,
                   cudaStream_t stream) {
  const dim3 grid = grid_of(plan), block(direct_threads);
  auto* input = static_cast<T*>(tensors.input);
  auto* weight = static_cast<T*>(tensors.weight);
  auto* output = static_cast<T*>(tensors.output);
  auto* bias = static_cast<const T*>(tensors.bias);
  const DirectProblem direct(problem);
  switch (problem.direction) {
    case ConvDirection::fprop:
      CNNKERN_LAUNCH((direct_fprop<T>), grid, block, 0, stream, direct, input, weight, bias, output,
                     (ConvBiasAct<T>(problem, tensors)));
      break;
    case ConvDirection::dgrad:
      CNNKERN_LAUNCH((direct_dgrad<T>), grid, block, 0, stream, direct, output, weight, bias,
                     input);
      break;
    case ConvDirection::wgrad:
      CNNKERN_LAUNCH((direct_wgrad<T>), grid, block, 0, stream, direct, output, input, weight);
      break;
  }
}

template void launch_direct<float>(const ConvPlan&, const ConvProblem&, const ConvTensors&,
                                   cudaStream_t);
template void launch_direct<double>(const ConvPlan&, const ConvProblem&, const ConvTensors&,
                                    cudaStream_t);
template void launch_direct<float16>(const ConvPlan&, const ConvProblem&, const ConvTensors&,
                                     cudaStream_t);
template void launch_direct<bfloat16>(const ConvPlan&, const ConvProblem&, const ConvTensors&,
                                      cudaStream_t);

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
