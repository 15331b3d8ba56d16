// The Python module `_C`: problems, plans, the kernel table. No tensors; the operators register
// themselves with PyTorch when this library is loaded.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "common/autotune.h"
#include "common/device_caps.h"
#include "common/launch_limits.h"
#include "common/problem_string.h"
#include "common/trace.h"
#include "common/winograd_allowed.h"
#include "cpu/conv/conv_cpu.h"
#include "cpu/pool/avg_pool_cpu.h"
#include "cpu/pool/pool_cpu.h"
#include "cpu/pool/unfold.h"
#include "cpu/pool/window_pool_cpu.h"
#include "torch/forced_kernel.h"

#include "cuda/conv/conv_plan.h"
#include "cuda/pool/avg_pool_plan.h"
#include "cuda/pool/max_pool_plan.h"
#include "cuda/pool/unfold_plan.h"
#include "cuda/pool/window_pool_plan.h"

namespace py = pybind11;

namespace cnnkern {
namespace {

// The spatial entries that the problem has, as a tuple.
py::tuple spatial(const Extent3& extent, int spatial_dims) {
  py::tuple result(static_cast<size_t>(spatial_dims));
  for (int i = 0; i < spatial_dims; ++i)
    result[static_cast<size_t>(i)] = extent[3 - spatial_dims + i];
  return result;
}

void describe_window_pool(const WindowPoolProblem& p, py::dict& result) {
  const int dims = p.spatial_dims;
  const py::tuple one = spatial(Extent3{}, dims), zero = spatial(Extent3{0, 0, 0}, dims);
  result["text"] = to_string(p);
  result["n"] = p.n, result["c"] = p.c;
  result["input"] = spatial(p.input, dims), result["output"] = spatial(p.output, dims);
  result["kernel"] = spatial(p.fractional ? p.window : p.output, dims);
  result["stride"] = one, result["dilation"] = one, result["padding"] = zero;
  result["ceil_mode"] = false;
  result["adaptive"] = !p.fractional, result["fractional"] = p.fractional;
  result["dtype"] = to_string(p.dtype), result["layout"] = to_string(p.layout);
  result["direction"] = to_string(p.direction);
}

void describe_unfold(const UnfoldProblem& p, py::dict& result) {
  result["text"] = to_string(p);
  result["n"] = p.n, result["c"] = p.c, result["rows"] = p.rows();
  result["input"] = spatial(p.image, 2), result["output"] = spatial(p.blocks, 2);
  result["kernel"] = spatial(p.kernel, 2), result["stride"] = spatial(p.stride, 2);
  result["padding"] = spatial(p.pad, 2), result["dilation"] = spatial(p.dilation, 2);
  result["ceil_mode"] = false;
  result["dtype"] = to_string(p.dtype), result["complex"] = p.parts == 2;
  result["layout"] = to_string(Layout::nchw), result["direction"] = to_string(p.direction);
}

py::dict parse(const std::string& text) {
  const NamedProblem named = parse_problem(text);
  py::dict result;
  result["name"] = named.name;
  result["multiplicity"] = named.multiplicity;
  result["is_pool"] = named.is_pool || named.is_avg_pool || named.is_window_pool || named.is_unfold;
  result["operation"] = named.is_unfold        ? "unfold"
                        : named.is_window_pool ? "window_pool"
                        : named.is_avg_pool    ? "avg_pool"
                        : named.is_pool        ? "max_pool"
                                               : "conv";
  if (named.is_unfold) {
    describe_unfold(named.unfold, result);
    return result;
  }
  if (named.is_window_pool) {
    describe_window_pool(named.window_pool, result);
    return result;
  }
  if (named.is_avg_pool) {
    const AvgPoolProblem& p = named.avg_pool;
    const int dims = p.spatial_dims;
    result["text"] = to_string(p);
    result["n"] = p.n, result["c"] = p.c;
    result["input"] = spatial(p.input, dims), result["output"] = spatial(p.output, dims);
    result["kernel"] = spatial(p.adaptive ? p.output : p.window, dims);
    result["stride"] = spatial(p.stride, dims), result["padding"] = spatial(p.pad, dims);
    result["dilation"] = spatial(p.dilation, dims);
    result["ceil_mode"] = p.ceil_mode, result["adaptive"] = p.adaptive;
    result["count_include_pad"] = p.count_include_pad, result["divisor"] = p.divisor;
    result["dtype"] = to_string(p.dtype), result["layout"] = to_string(p.layout);
    result["direction"] = to_string(p.direction);
  } else if (named.is_pool) {
    const PoolProblem& p = named.pool;
    const int dims = p.spatial_dims;
    result["text"] = to_string(p);
    result["n"] = p.n, result["c"] = p.c;
    result["input"] = spatial(p.input, dims), result["kernel"] = spatial(p.window, dims);
    result["output"] = spatial(p.output, dims), result["stride"] = spatial(p.stride, dims);
    result["padding"] = spatial(p.pad, dims), result["dilation"] = spatial(p.dilation, dims);
    result["ceil_mode"] = p.ceil_mode;
    result["indices"] = p.indices != PoolIndices::none;
    result["offsets"] = p.indices == PoolIndices::offsets;
    result["dtype"] = to_string(p.dtype), result["layout"] = to_string(p.layout);
    result["direction"] = to_string(p.direction);
  } else {
    const ConvProblem& p = named.conv;
    const int dims = p.spatial_dims;
    result["text"] = to_string(p);
    result["n"] = p.n, result["c"] = p.c, result["k"] = p.k, result["groups"] = p.groups;
    result["input"] = spatial(p.input, dims), result["kernel"] = spatial(p.filter, dims);
    result["output"] = spatial(p.output, dims), result["stride"] = spatial(p.stride, dims);
    result["pad_begin"] = spatial(p.pad_begin, dims), result["pad_end"] = spatial(p.pad_end, dims);
    result["dilation"] = spatial(p.dilation, dims);
    result["dtype"] = to_string(p.dtype), result["layout"] = to_string(p.layout);
    result["direction"] = to_string(p.direction);
    result["flops"] = p.flops();
    result["activation"] = to_string(p.activation);
    result["residual"] = p.residual, result["preactivation"] = p.preactivation;
    result["tf32"] = p.tf32;
  }
  return result;
}

py::list refusal_list(const std::vector<Refusal>& refusals) {
  py::list result;
  for (const Refusal& refusal : refusals)
    result.append(py::make_tuple(refusal.kernel, refusal.reason));
  return result;
}

template <class Plan>
py::dict cpu_plan(const Plan& plan) {
  py::dict result;
  result["backend"] = "cpu";
  result["kernel"] = plan.kernel;
  result["isa"] = cpu::to_string(plan.isa);
  result["why"] = plan.why;
  result["refusals"] = refusal_list(plan.refusals);
  return result;
}

// What both kinds of plan for a GPU say: the launch, not yet the registers (the compiler's
// records).
template <class Plan>
py::dict cuda_plan(const Plan& plan, const DeviceCaps& device) {
  py::dict result;
  result["backend"] = "cuda";
  result["kernel"] = plan.kernel;
  result["device"] = device.name, result["product"] = device.product, result["arch"] = device.arch;
  result["multiprocessors"] = device.multiprocessors;
  result["symbol"] = plan.symbol;
  result["grid"] = py::make_tuple(plan.grid[0], plan.grid[1], plan.grid[2]);
  result["threads"] = plan.threads;
  result["why"] = plan.why;
  result["refusals"] = refusal_list(plan.refusals);
  return result;
}

py::dict plan(const std::string& text, const std::string& device, const std::string& forced) {
  const NamedProblem named = parse_problem(text);
  if (device == "cpu") {
    const cpu::Isa isa = cpu::current_isa();
    if (named.is_unfold) return cpu_plan(cpu::plan_unfold_cpu(named.unfold, forced, true));
    if (named.is_window_pool)
      return cpu_plan(cpu::plan_window_pool_cpu(named.window_pool, isa, forced, true));
    if (named.is_avg_pool)
      return cpu_plan(cpu::plan_avg_pool_cpu(named.avg_pool, isa, forced, true));
    return named.is_pool ? cpu_plan(cpu::plan_pool_cpu(named.pool, isa, forced, true))
                         : cpu_plan(cpu::plan_conv_cpu(named.conv, isa, forced, true));
  }
  const DeviceCaps* caps = find_device(device);
  if (!caps) {
    std::string known = "cpu";
    for (const DeviceCaps& each : known_devices) known += std::string(", ") + each.name;
    throw std::invalid_argument("device '" + device + "' is not known; use one of " + known);
  }
  if (named.is_pool || named.is_avg_pool || named.is_window_pool || named.is_unfold) {
    py::dict result = named.is_pool     ? cuda_plan(plan_pool(named.pool, *caps, forced), *caps)
                      : named.is_unfold ? cuda_plan(plan_unfold(named.unfold, *caps, forced), *caps)
                      : named.is_avg_pool
                          ? cuda_plan(plan_avg_pool(named.avg_pool, *caps, forced), *caps)
                          : cuda_plan(plan_window_pool(named.window_pool, *caps, forced), *caps);
    result["shared_bytes"] = 0;
    return result;
  }
  const ConvPlan conv = plan_conv(named.conv, *caps, forced);
  py::dict result = cuda_plan(conv, *caps);
  result["tile"] = py::make_tuple(conv.tile.m, conv.tile.n, conv.tile.k);
  result["shared_bytes"] = conv.shared_bytes;
  result["split_k"] = conv.split_k;
  result["workspace_bytes"] = conv.workspace_bytes;
  result["tf32"] = conv.tf32;
  return result;
}

template <class Kernel>
void append_cpu_kernels(py::list& result, const char* operation, const std::vector<Kernel>& table) {
  for (const Kernel& kernel : table) {
    py::dict row;
    row["backend"] = "cpu", row["operation"] = operation, row["name"] = kernel.name;
    row["idea"] = kernel.idea;
    if constexpr (requires { kernel.direction; }) row["direction"] = to_string(kernel.direction);
    result.append(row);
  }
}

template <class Kernel>
void append_pool_kernels(py::list& result, const char* operation,
                         const std::vector<Kernel>& table) {
  for (const Kernel& kernel : table) {
    py::dict row;
    row["backend"] = "cuda", row["operation"] = operation, row["name"] = kernel.name;
    row["direction"] = to_string(kernel.direction), row["dtype"] = to_string(kernel.dtype);
    row["layout"] = kernel.layout, row["threads"] = kernel.threads;
    row["symbol"] = kernel.symbol;
    result.append(row);
  }
}

py::list kernels() {
  py::list result;
  append_cpu_kernels(result, "conv", cpu::conv_cpu_kernel_table());
  append_cpu_kernels(result, "max_pool", cpu::pool_cpu_kernel_table());
  append_cpu_kernels(result, "avg_pool", cpu::avg_pool_cpu_kernel_table());
  append_cpu_kernels(result, "window_pool", cpu::window_pool_cpu_kernel_table());
  append_cpu_kernels(result, "unfold", cpu::unfold_cpu_kernel_table());
  for (const ConvKernelInfo& kernel : conv_kernel_table()) {
    py::dict row;
    row["backend"] = "cuda", row["operation"] = "conv", row["name"] = kernel.name;
    row["direction"] = to_string(kernel.direction), row["dtype"] = to_string(kernel.dtype);
    row["tile"] = py::make_tuple(kernel.tile.m, kernel.tile.n, kernel.tile.k);
    row["threads"] = kernel.threads, row["shared_bytes"] = kernel.shared_bytes;
    row["layout"] = kernel.any_layout ? "any" : to_string(kernel.layout);
    row["symbol"] = kernel.symbol, row["tf32"] = kernel.rounds_to_tf32();
    result.append(row);
  }
  append_pool_kernels(result, "max_pool", pool_kernel_table());
  append_pool_kernels(result, "avg_pool", avg_pool_kernel_table());
  append_pool_kernels(result, "window_pool", window_pool_kernel_table());
  append_pool_kernels(result, "unfold", unfold_kernel_table());
  return result;
}

py::list devices() {
  py::list result;
  for (const DeviceCaps& device : known_devices)
    result.append(py::make_tuple(device.name, device.product));
  return result;
}

const DeviceCaps& caps_of(const std::string& device) {
  if (const DeviceCaps* caps = find_device(device)) return *caps;
  throw std::invalid_argument("device '" + device + "' is not known");
}

int occupancy(const std::string& device, int threads, int registers, int shared_bytes) {
  return blocks_per_multiprocessor(caps_of(device), threads, registers, shared_bytes);
}

std::string check_launch(const std::string& device, int registers, int64_t static_shared_bytes,
                         int64_t max_threads, int64_t parameter_bytes,
                         const std::vector<std::string>& cubins, int ptx,
                         const std::array<int64_t, 3>& grid, const std::array<int64_t, 3>& block,
                         int64_t dynamic_shared_bytes, bool opted_in) {
  return validate_launch(
      caps_of(device), {registers, static_shared_bytes, max_threads, parameter_bytes, cubins, ptx},
      {grid, block, dynamic_shared_bytes, opted_in});
}

void force_kernel(const std::string& operation, const std::string& name) {
  if (operation == "conv") forced_conv_kernel() = name;
  else if (operation == "max_pool") forced_pool_kernel() = name;
  else if (operation == "avg_pool") forced_avg_pool_kernel() = name;
  else if (operation == "window_pool") forced_window_pool_kernel() = name;
  else if (operation == "unfold") forced_unfold_kernel() = name;
  else
    throw std::invalid_argument(
        "operation '" + operation +
        "' is not known; use conv, max_pool, avg_pool, window_pool or unfold");
}

}  // namespace
}  // namespace cnnkern

PYBIND11_MODULE(_C, m) {
  using namespace cnnkern;
  m.doc() = "cnnkern's compiled core: operators, plans and the kernel table.";
  m.def("parse_problem", &parse, py::arg("text"));
  m.def("plan", &plan, py::arg("problem"), py::arg("device"), py::arg("kernel") = "");
  m.def("kernels", &kernels);
  m.def("devices", &devices);
  m.def("occupancy", &occupancy, py::arg("device"), py::arg("threads"), py::arg("registers"),
        py::arg("shared_bytes"));
  m.def("validate_launch", &check_launch, py::arg("device"), py::kw_only(), py::arg("registers"),
        py::arg("static_shared_bytes"), py::arg("max_threads"), py::arg("parameter_bytes"),
        py::arg("cubins"), py::arg("ptx"), py::arg("grid"), py::arg("block"),
        py::arg("dynamic_shared_bytes"), py::arg("opted_in"));
  m.def("force_kernel", &force_kernel, py::arg("operation"), py::arg("name"));
  m.def("winograd", [] { return winograd_allowed().load(); });
  m.def("set_winograd", [](bool allowed) { winograd_allowed() = allowed; });
  m.def("set_autotune", &autotune::enable, py::arg("on"));
  m.def("tuned", &autotune::results);
  m.def("remember_tuned", &autotune::remember, py::arg("results"));
  m.def("launches", &trace::launches);
#ifdef CNNKERN_WITH_CUDA
  m.attr("cuda_built") = true;
#else
  m.attr("cuda_built") = false;
#endif
  m.def("isa", [] { return cpu::to_string(cpu::current_isa()); });
}
