// From a plan to its launcher: one function pointer for each row of conv_kernels.inc.
#include "cuda/conv/conv_launch.h"

#include <cstddef>

#include "cuda/conv/tf32x3.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

using Launcher = void (*)(const ConvPlan&, const ConvProblem&, const ConvTensors&, cudaStream_t);

constexpr Launcher launchers[] = {
#define CNNKERN_SIMT_FPROP(layout, vector, m, n, k) \
  launch_gemm_fprop<float, Layout::layout, vector, m, n, k>,
#define CNNKERN_F64_FPROP(layout, vector, m, n, k) \
  launch_gemm_fprop<double, Layout::layout, vector, m, n, k>,
#define CNNKERN_SIMT_DGRAD(layout, vector, m, n, k) \
  launch_gemm_dgrad<float, Layout::layout, vector, m, n, k>,
#define CNNKERN_F64_DGRAD(layout, vector, m, n, k) \
  launch_gemm_dgrad<double, Layout::layout, vector, m, n, k>,
#define CNNKERN_SIMT_WGRAD(layout, vector, m, n, k) \
  launch_gemm_wgrad<float, Layout::layout, vector, m, n, k>,
#define CNNKERN_F64_WGRAD(layout, vector, m, n, k) \
  launch_gemm_wgrad<double, Layout::layout, vector, m, n, k>,
#define CNNKERN_WINOGRAD(direction, layout) \
  launch_winograd<ConvDirection::direction, Layout::layout>,
#define CNNKERN_WINOGRAD_4X4(direction, layout) \
  launch_winograd_4x4<ConvDirection::direction, Layout::layout>,
#define CNNKERN_LADDER(rung) launch_ladder_##rung,
#define CNNKERN_MMA_FPROP(dtype, type, m, n, k) launch_mma_fprop<type, m, n, k>,
#define CNNKERN_MMA_DGRAD(dtype, type, m, n, k) launch_mma_dgrad<type, m, n, k>,
#define CNNKERN_MMA_WGRAD(dtype, type, m, n, k) launch_mma_wgrad<type, m, n, k>,
#define CNNKERN_FIRST_LAYER_FPROP(dtype, type, m, n, k) launch_first_layer<type, m, n, k>,
#define CNNKERN_FIRST_LAYER_WGRAD(dtype, type, m, n, k) launch_first_layer_wgrad<type, m, n, k>,
#define CNNKERN_DEPTHWISE(direction, layout, dtype, type, vector) launch_depthwise<type>,
#define CNNKERN_DIRECT(direction, dtype, type) launch_direct<type>,
#include "cuda/conv/conv_kernels.inc"
};

const std::vector<ConvKernelInfo>& table() {
  static const std::vector<ConvKernelInfo> rows = conv_kernel_table();
  return rows;
}

/// The same plan for the row of its tile that loads single elements; the generic kernel's plan if
/// there is none.
ConvPlan with_scalar_loads(ConvPlan plan, const ConvProblem& problem) {
  const ConvKernelInfo& vectorised = table()[plan.index];
  for (size_t i = 0; i < table().size(); ++i) {
    const ConvKernelInfo& row = table()[i];
    if (row.family == vectorised.family && row.direction == vectorised.direction &&
        row.dtype == vectorised.dtype && row.layout == vectorised.layout &&
        row.tile.m == vectorised.tile.m && row.vector == 1) {
      plan.index = static_cast<int>(i);
      return plan;
    }
  }
  return plan_direct_conv(problem);
}

/// The tensors as a kernel wants them: those that the plan moves lie in its workspace, and the rest
/// of that is the kernel's.
class PreparedTensors {
 public:
  PreparedTensors(const LayoutPass& pass, const ConvTensors& given) : tensors_(given) {
    const ConvDirection direction = pass.problem.direction;
    auto* workspace = static_cast<std::byte*>(given.workspace);
    const auto prepare = [&](const std::optional<LayoutMove>& move, auto& tensor, bool result) {
      if (!move || tensor == nullptr) return;
      moves_[count_++] = {&*move, const_cast<void*>(static_cast<const void*>(tensor)),
                          workspace + move->offset, result};
      tensor = workspace + move->offset;
    };
    prepare(pass.input, tensors_.input, direction == ConvDirection::dgrad);
    prepare(pass.weight, tensors_.weight, direction == ConvDirection::wgrad);
    prepare(pass.output, tensors_.output, direction == ConvDirection::fprop);
    prepare(pass.bias, tensors_.bias, false);
    prepare(pass.residual, tensors_.residual, false);
    prepare(pass.preactivation, tensors_.preactivation, true);
    tensors_.workspace = workspace + pass.workspace_bytes;
  }

  const ConvTensors& tensors() const { return tensors_; }

  /// What the kernel reads, before it; what it has written, after it.
  void move(LayoutWay way, cudaStream_t stream) const {
    for (int i = 0; i < count_; ++i)
      if (const Move& m = moves_[i]; m.result == (way == LayoutWay::unpad))
        launch_layout_move(*m.move, way, m.given, m.padded, stream);
  }

 private:
  struct Move {
    const LayoutMove* move;
    void *given, *padded;
    bool result;
  };

  ConvTensors tensors_;
  Move moves_[6];
  int count_ = 0;
};

}  // namespace

bool lie_on_16_bytes(const ConvTensors& tensors) {
  const void* pointers[] = {tensors.input, tensors.weight, tensors.output, tensors.residual,
                            tensors.preactivation};
  for (const void* pointer : pointers)
    if (reinterpret_cast<uintptr_t>(pointer) % 16 != 0) return false;
  return true;
}

void launch_conv(const ConvPlan& plan, const ConvProblem& problem, const ConvTensors& tensors,
                 cudaStream_t stream) {
  if (plan.grid[0] == 0 || plan.grid[1] == 0 || plan.grid[2] == 0) return;  // an empty result
  const ConvKernelInfo& kernel = table()[plan.index];
  const PreparedTensors prepared(plan.pass, tensors);
  // Depthwise launchers see to the alignment themselves.
  const bool misaligned = kernel.family != ConvKernelFamily::depthwise && kernel.vector > 1 &&
                          !lie_on_16_bytes(prepared.tensors());
  if (misaligned) {
    const ConvPlan fit = with_scalar_loads(plan, problem);
    launchers[fit.index](fit, problem, tensors, stream);
    return;
  }
  prepared.move(LayoutWay::pad, stream);
  launchers[plan.index](plan, plan.pass.problem, prepared.tensors(), stream);
  prepared.move(LayoutWay::unpad, stream);
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
