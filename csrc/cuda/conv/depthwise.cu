// From a plan to the launcher of a depthwise kernel; the kernels' ideas stand in
// depthwise_pixels.cu, depthwise_planes.cu and depthwise_wgrad.cu.
#include "cuda/conv/depthwise.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

/// Whether accesses of 16 bytes may begin where the tensors do; weights travel one by one.
bool aligned(const ConvTensors& tensors) {
  const void* pointers[] = {tensors.input, tensors.output, tensors.bias, tensors.residual,
                            tensors.preactivation};
  for (const void* pointer : pointers)
    if (reinterpret_cast<uintptr_t>(pointer) % 16 != 0) return false;
  return true;
}

}  // namespace

template <class T>
void launch_depthwise(const ConvPlan& plan, const ConvProblem& problem, const ConvTensors& tensors,
                      cudaStream_t stream) {
  const bool vectors = plan.kernel != "depthwise" && aligned(tensors);
  const int vector = vectors ? static_cast<int>(16 / sizeof(T)) : 1;
  const DepthwiseShape shape = depthwise_shape(problem, vector, plan.split_k);
  if (problem.direction == ConvDirection::wgrad)
    launch_depthwise_wgrad<T>(shape, problem, tensors, plan.split_k, stream);
  else if (problem.layout == Layout::nhwc)
    launch_depthwise_pixels<T>(shape, problem, tensors, stream);
  else launch_depthwise_planes<T>(shape, problem, tensors, stream);
}

#define CNNKERN_DEPTHWISE_TYPE(type)                                                            \
  template void launch_depthwise<type>(const ConvPlan&, const ConvProblem&, const ConvTensors&, \
                                       cudaStream_t);
#include "cuda/conv/conv_kernels.inc"

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
