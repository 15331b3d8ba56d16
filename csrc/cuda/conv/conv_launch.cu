// From a plan to its launcher: one function pointer for each row of conv_kernels.inc.
#include "cuda/conv/conv_launch.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

using Launcher = void (*)(const ConvPlan&, const ConvProblem&, const ConvTensors&, cudaStream_t);

constexpr Launcher launchers[] = {
#define CNNKERN_SIMT_FPROP(layout, vector, m, n, k) \
  launch_simt_fprop<Layout::layout, vector, m, n, k>,
#define CNNKERN_SIMT_DGRAD(layout, vector, m, n, k) \
  launch_simt_dgrad<Layout::layout, vector, m, n, k>,
#define CNNKERN_SIMT_WGRAD(layout, vector, m, n, k) \
  launch_simt_wgrad<Layout::layout, vector, m, n, k>,
#define CNNKERN_DEPTHWISE(direction, layout, dtype, type, vector) launch_depthwise<type>,
#define CNNKERN_DIRECT(direction, dtype, type) launch_direct<type>,
#include "cuda/conv/conv_kernels.inc"
};

bool aligned(const ConvTensors& tensors, size_t bytes) {
  const void* pointers[] = {tensors.input, tensors.weight, tensors.output};
  for (const void* pointer : pointers)
    if (reinterpret_cast<uintptr_t>(pointer) % bytes != 0) return false;
  return true;
}

/// The row of the same tile that loads single elements.
int scalar_row(int index) {
  static const std::vector<ConvKernelInfo> table = conv_kernel_table();
  const ConvKernelInfo& vectorised = table[index];
  for (size_t i = 0; i < table.size(); ++i)
    if (table[i].direction == vectorised.direction && table[i].layout == vectorised.layout &&
        table[i].tile.m == vectorised.tile.m && table[i].vector == 1)
      return static_cast<int>(i);
  throw std::logic_error(vectorised.name + " has no scalar counterpart");
}

/// Whether another row takes over; depthwise launchers see to the alignment themselves.
bool loads_vectors(int index) {
  static const std::vector<ConvKernelInfo> table = conv_kernel_table();
  return table[index].vector > 1 && table[index].tile.m > 0;
}

}  // namespace

void launch_conv(const ConvPlan& plan, const ConvProblem& problem, const ConvTensors& tensors,
                 cudaStream_t stream) {
  if (plan.grid[0] == 0 || plan.grid[1] == 0 || plan.grid[2] == 0) return;  // an empty result
  const int row =
      loads_vectors(plan.index) && !aligned(tensors, 16) ? scalar_row(plan.index) : plan.index;
  launchers[row](plan, problem, tensors, stream);
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
