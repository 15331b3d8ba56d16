// The CUDA kernels on CPU tensors, in the SIMT emulator, as operators of their own
// (`cnnkern_emulator::`), and the Python module `_emulator` that steers it.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <memory>

#include "common/problem_string.h"
#include "common/trace.h"
#include "common/winograd_allowed.h"
#include "emulator/arch_path.h"
#include "emulator/gpus.h"
#include "emulator/launch.h"
#include "emulator/profile.h"
#include "torch/forced_kernel.h"
#include "torch/operators.h"
#include "torch/plan_text.h"

namespace cnnkern {
namespace {

// The GPU that the emulator stands for: plans are made for it.
const DeviceCaps*& emulated_device() {
  static const DeviceCaps* device = find_device("sm_80");
  return device;
}

// Whether float32 may be rounded to tf32; PyTorch's setting is for CUDA tensors.
bool& emulated_tf32() {
  static bool allowed = false;
  return allowed;
}

// The newest architecture path that this GPU could run.
ArchPath path() {
  return emulated_device()->arch >= 80 ? emulated_sm80::arch_path() : emulated_sm75::arch_path();
}

// As CUDA's allocator aligns, so that sectors are counted as on a GPU.
struct alignas(256) WorkspaceLine {
  std::byte bytes[256];
};

struct EmulatorBackend {
  static void conv(const ConvProblem& given, const ConvTensors& tensors, const Tensor&) {
    ConvProblem problem = given;
    problem.tf32 = problem.dtype == DType::float32 && emulated_tf32();
    const ConvPlan plan = plan_conv(problem, *emulated_device(), forced_conv_kernel());
    trace::launched("emulator." + plan.kernel,
                    [&] { return to_string(problem) + " -> emulator." + to_string(plan); });
    const auto workspace = std::make_unique<WorkspaceLine[]>(
        (static_cast<size_t>(plan.workspace_bytes) + 255) / sizeof(WorkspaceLine));
    ConvTensors arguments = tensors;
    arguments.workspace = workspace.get();
    path().launch_conv(plan, problem, arguments);
  }

  static void bias_grad(const ConvProblem& problem, const void* grad_output, void* grad_bias,
                        const Tensor&) {
    ConvTensors tensors;
    tensors.output = const_cast<void*>(grad_output);
    tensors.bias = grad_bias;
    trace::count("emulator.bias_grad");
    path().launch_bias_grad(problem, tensors);
  }

  static void pool(const PoolProblem& problem, const PoolTensors& tensors, const Tensor&) {
    const PoolPlan plan = plan_pool(problem, *emulated_device(), forced_pool_kernel());
    trace::launched("emulator." + plan.kernel,
                    [&] { return to_string(problem) + " -> emulator." + to_string(plan); });
    path().launch_pool(plan, problem, tensors);
  }

  static void avg_pool(const AvgPoolProblem& problem, const AvgPoolTensors& tensors,
                       const Tensor&) {
    const PoolPlan plan = plan_avg_pool(problem, *emulated_device(), forced_avg_pool_kernel());
    trace::launched("emulator." + plan.kernel,
                    [&] { return to_string(problem) + " -> emulator." + to_string(plan); });
    path().launch_avg_pool(plan, problem, tensors);
  }

  static void unfold(const UnfoldProblem& problem, const UnfoldTensors& tensors, const Tensor&) {
    const PoolPlan plan = plan_unfold(problem, *emulated_device(), forced_unfold_kernel());
    trace::launched("emulator." + plan.kernel,
                    [&] { return to_string(problem) + " -> emulator." + to_string(plan); });
    path().launch_unfold(plan, problem, tensors);
  }

  static void window_pool(const WindowPoolProblem& problem, const WindowPoolTensors& tensors,
                          const Tensor&) {
    const PoolPlan plan =
        plan_window_pool(problem, *emulated_device(), forced_window_pool_kernel());
    trace::launched("emulator." + plan.kernel,
                    [&] { return to_string(problem) + " -> emulator." + to_string(plan); });
    path().launch_window_pool(plan, problem, tensors);
  }
};

void set_device(const std::string& name) {
  const DeviceCaps* device = find_device(name);
  if (!device) {
    std::string known;
    for (const DeviceCaps& each : known_devices)
      known += (known.empty() ? "" : ", ") + std::string(each.name);
    throw std::invalid_argument("the emulator's device is '" + name + "', but one of " + known +
                                " is expected");
  }
  emulated_device() = device;
  emulator::set_gpu(0, *device);
}

void force_kernel(const std::string& operation, const std::string& name) {
  (operation == "conv"          ? forced_conv_kernel()
   : operation == "avg_pool"    ? forced_avg_pool_kernel()
   : operation == "window_pool" ? forced_window_pool_kernel()
   : operation == "unfold"      ? forced_unfold_kernel()
                                : forced_pool_kernel()) = name;
}

// 0 for all of them.
void sample_blocks(uint64_t count) {
  emulator::set_blocks(count > 0 ? emulator::spread_blocks(count) : emulator::BlockChoice());
}

pybind11::dict to_dict(const emulator::SiteProfile& site) {
  pybind11::dict row;
  row["kind"] = site.kind, row["function"] = site.function;
  row["file"] = site.file, row["line"] = site.line, row["column"] = site.column;
  row["access_bytes"] = site.access_bytes, row["bytes"] = site.bytes();
  row["requests"] = site.requests, row["lanes"] = site.lanes;
  row["sectors"] = site.sectors, row["ideal_sectors"] = site.ideal_sectors;
  row["efficiency"] = site.efficiency();
  row["wavefronts"] = site.wavefronts, row["conflicts"] = site.conflicts();
  row["max_ways"] = site.max_ways;
  return row;
}

pybind11::list take_profile() {
  pybind11::list launches;
  for (const emulator::LaunchProfile& launch : emulator::take_profile()) {
    pybind11::dict row;
    pybind11::list sites;
    for (const emulator::SiteProfile& site : launch.sites) sites.append(to_dict(site));
    row["kernel"] = launch.kernel;
    row["grid"] = std::array{launch.grid.x, launch.grid.y, launch.grid.z};
    row["block"] = std::array{launch.block.x, launch.block.y, launch.block.z};
    row["blocks"] = launch.blocks, row["barriers"] = launch.barriers;
    row["instructions"] = launch.instructions;
    row["sites"] = sites;
    launches.append(row);
  }
  return launches;
}

}  // namespace
}  // namespace cnnkern

STABLE_TORCH_LIBRARY_IMPL(cnnkern_emulator, CPU, m) {
  cnnkern::register_operators<cnnkern::EmulatorBackend>(m);
}

PYBIND11_MODULE(_emulator, m) {
  using namespace cnnkern;
  m.doc() = "cnnkern's CUDA kernels in the SIMT emulator.";
  m.def("set_device", &set_device, pybind11::arg("name"));
  m.def("set_seed", &emulator::set_seed, pybind11::arg("seed"));
  m.def("set_threads", &emulator::set_threads, pybind11::arg("threads"));
  m.def("set_race_check", &emulator::set_race_check, pybind11::arg("on"));
  m.def("set_tf32", [](bool allowed) { emulated_tf32() = allowed; });
  m.def("set_winograd", [](bool allowed) { winograd_allowed() = allowed; });
  m.def("force_kernel", &force_kernel, pybind11::arg("operation"), pybind11::arg("name"));
  m.def("sample_blocks", &sample_blocks, pybind11::arg("count"));
  m.def("start_profile", &emulator::start_profile);
  m.def("take_profile", &take_profile);
  m.def("launches", &trace::launches);
}
