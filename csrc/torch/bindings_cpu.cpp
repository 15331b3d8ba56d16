// The operators on CPU tensors.
#include "common/autotune.h"
#include "common/problem_string.h"
#include "common/trace.h"
#include "cpu/conv/conv_cpu.h"
#include "cpu/pool/avg_pool_cpu.h"
#include "cpu/pool/pool_cpu.h"
#include "cpu/pool/unfold.h"
#include "cpu/pool/window_pool_cpu.h"
#include "torch/forced_kernel.h"
#include "torch/operators.h"

namespace cnnkern {
namespace {

// PyTorch's own thread pool, so torch.set_num_threads is honoured.
const ParallelFor& torch_threads() {
  static const ParallelFor parallel = [](int64_t tasks,
                                         const std::function<void(int64_t, int64_t)>& body) {
    torch::stable::parallel_for(0, tasks, 1, body);
  };
  return parallel;
}

// The fastest kernel but the last, which takes everything and is never worth its time.
std::string tuned_conv_kernel(const ConvProblem& problem, const ConvTensors& tensors) {
  const cpu::Isa isa = cpu::current_isa();
  const std::string key = std::string("cpu ") + cpu::to_string(isa) + ", " +
                          std::to_string(torch::stable::get_num_threads()) +
                          " threads: " + to_string(problem);
  const auto names = [] {
    const std::vector<cpu::ConvCpuKernel>& table = cpu::conv_cpu_kernel_table();
    std::vector<std::string> all;
    for (size_t i = 0; i + 1 < table.size(); ++i) all.emplace_back(table[i].name);
    return all;
  };
  const auto plan = [&](const std::string& kernel) {
    return cpu::plan_conv_cpu(problem, isa, kernel);
  };
  const auto run = [&](const std::string& kernel, int times) {
    const cpu::ConvCpuPlan planned = plan(kernel);
    for (int i = 0; i < times; ++i) cpu::run_conv_cpu(planned, problem, tensors, torch_threads());
  };
  return autotune::fastest(key, {names, plan, run});
}

struct CpuBackend {
  static void conv(const ConvProblem& problem, const ConvTensors& tensors, const Tensor&) {
    const bool tune = autotune::enabled() && forced_conv_kernel().empty();
    const cpu::ConvCpuPlan plan =
        cpu::plan_conv_cpu(problem, cpu::current_isa(),
                           tune ? tuned_conv_kernel(problem, tensors) : forced_conv_kernel());
    trace::launched("cpu." + plan.kernel, [&] {
      return to_string(problem) + " -> cpu." + plan.kernel + " (" + cpu::to_string(plan.isa) + ")";
    });
    cpu::run_conv_cpu(plan, problem, tensors, torch_threads());
  }

  static void bias_grad(const ConvProblem& problem, const void* grad_output, void* grad_bias,
                        const Tensor&) {
    ConvTensors tensors;
    tensors.output = const_cast<void*>(grad_output);
    trace::count("cpu.bias_grad");
    cpu::run_bias_grad_cpu(problem, tensors, grad_bias, torch_threads());
  }

  static void pool(const PoolProblem& problem, const PoolTensors& tensors, const Tensor&) {
    const cpu::PoolCpuPlan plan =
        cpu::plan_pool_cpu(problem, cpu::current_isa(), forced_pool_kernel());
    const std::string name = "cpu.max_pool." + plan.kernel;
    trace::launched(name, [&] {
      return to_string(problem) + " -> " + name + " (" + cpu::to_string(plan.isa) + ")";
    });
    cpu::run_pool_cpu(plan, problem, tensors, torch_threads());
  }

  static void avg_pool(const AvgPoolProblem& problem, const AvgPoolTensors& tensors,
                       const Tensor&) {
    const cpu::AvgPoolCpuPlan plan =
        cpu::plan_avg_pool_cpu(problem, cpu::current_isa(), forced_avg_pool_kernel());
    const std::string name = "cpu.avg_pool." + plan.kernel;
    trace::launched(name, [&] {
      return to_string(problem) + " -> " + name + " (" + cpu::to_string(plan.isa) + ")";
    });
    cpu::run_avg_pool_cpu(plan, problem, tensors, torch_threads());
  }

  static void unfold(const UnfoldProblem& problem, const UnfoldTensors& tensors, const Tensor&) {
    const std::string name = "cpu." + cpu::plan_unfold_cpu(problem, forced_unfold_kernel()).kernel;
    trace::launched(name, [&] { return to_string(problem) + " -> " + name; });
    cpu::run_unfold_cpu(problem, tensors, torch_threads());
  }

  static void window_pool(const WindowPoolProblem& problem, const WindowPoolTensors& tensors,
                          const Tensor&) {
    const cpu::WindowPoolCpuPlan plan =
        cpu::plan_window_pool_cpu(problem, cpu::current_isa(), forced_window_pool_kernel());
    const std::string name = "cpu.window_pool." + plan.kernel;
    trace::launched(name, [&] {
      return to_string(problem) + " -> " + name + " (" + cpu::to_string(plan.isa) + ")";
    });
    cpu::run_window_pool_cpu(plan, problem, tensors, torch_threads());
  }
};

Tensor conv_pack_weight(const Tensor& input, const Tensor& weight, const IntList& stride,
                        const IntList& padding, const IntList& dilation, int64_t groups) {
  const ConvProblem problem =
      forward_problem(input, weight, std::nullopt, {stride, padding, dilation, groups});
  const cpu::ConvCpuPlan plan =
      cpu::plan_conv_cpu(problem, cpu::current_isa(), forced_conv_kernel());
  const Tensor w = in_layout(weight, problem.layout);
  const auto pack = [&](void* to) {
    return cpu::pack_weight_cpu(plan, problem, read_pointer(w), to, torch_threads());
  };
  const int64_t bytes = pack(nullptr);
  Tensor packed = allocate_indices({bytes / 8}, weight, Layout::nchw);
  if (bytes > 0) pack(packed.mutable_data_ptr());
  return packed;
}

}  // namespace
}  // namespace cnnkern

STABLE_TORCH_LIBRARY_IMPL(cnnkern, CPU, m) {
  cnnkern::register_operators<cnnkern::CpuBackend>(m);
  m.impl("conv_pack_weight", TORCH_BOX(&cnnkern::conv_pack_weight));
}
