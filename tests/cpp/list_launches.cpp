// Prints the shape of every launch that a problem can lead to on any known GPU: each kernel that
// takes it, in all directions, layouts and types. The real launchers run while a stand-in stream is
// captured, so that no kernel does and tensors need no memory.
//
//   list_launches file.txt…
//
// A line a launch, each once: device, kernel, grid, block, dynamic shared bytes, opted in or not;
// the kernel is the plan's symbol, or the bare name of one that a plan does not name
// (split_k_reduce).
#include <exception>
#include <fstream>
#include <iostream>
#include <optional>
#include <set>
#include <sstream>

#include "common/problem_string.h"
#include "cuda/conv/conv_launch.h"
#include "cuda/pool/pool_launch.h"
#include "emulator/gpus.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

void* const anywhere = reinterpret_cast<void*>(uintptr_t{1} << 20);  // aligned for every kernel
constexpr DType dtypes[] = {DType::float32, DType::float64, DType::float16, DType::bfloat16};

std::set<std::string> lines;

std::string spaced(const std::array<int64_t, 3>& sizes) {
  std::ostringstream text;
  text << sizes[0] << " " << sizes[1] << " " << sizes[2];
  return text.str();
}

/// "(gemm_fprop<layout, …>)" as the launch macro writes it becomes "gemm_fprop".
std::string bare(const std::string& kernel) {
  const size_t begin = kernel[0] == '(';
  return kernel.substr(begin, kernel.find_first_of("<)", begin) - begin);
}

template <class Launch>
void list(const DeviceCaps& device, const std::string& symbol, const Launch& launch) {
  static cudaStream_t stream = nullptr;
  if (stream == nullptr) cudaStreamCreate(&stream);
  emulator::open_log();
  emulator::begin_capture(stream);
  launch(stream);
  emulator::end_capture();
  bool opted_in = false;
  for (const emulator::RuntimeCall& call : emulator::close_log()) {
    if (call.function == "cudaFuncSetAttribute") opted_in = true;
    if (call.function != "cudaLaunchKernelEx") continue;
    std::ostringstream line;
    const std::string name = bare(call.kernel);
    line << device.name << "\t" << (symbol.starts_with(name + "<") ? symbol : name) << "\t"
         << spaced(call.shape.grid) << "\t" << spaced(call.shape.block) << "\t"
         << call.shape.dynamic_shared_bytes << "\t" << opted_in;
    lines.insert(line.str());
    opted_in = false;
  }
}

/// Calls launch(plan) with the plan of each kernel that does not refuse.
template <class Plan, class Launch>
void for_each_plan(const std::set<std::string>& kernels, const Plan& plan, const Launch& launch) {
  for (const std::string& kernel : kernels) {
    std::optional<decltype(plan(kernel))> made;
    try {
      made = plan(kernel);
    } catch (const std::runtime_error&) {
      continue;
    }
    launch(*made);
  }
}

template <class Row>
std::set<std::string> names(const std::vector<Row>& table) {
  std::set<std::string> result;
  for (const Row& row : table) result.insert(row.name);
  return result;
}

void list_conv(ConvProblem problem, const DeviceCaps& device) {
  const ConvTensors tensors{anywhere, anywhere, anywhere, anywhere, anywhere, anywhere, anywhere};
  for (const ConvDirection direction :
       {ConvDirection::fprop, ConvDirection::dgrad, ConvDirection::wgrad}) {
    if (problem.fused() && direction != ConvDirection::fprop) continue;
    problem.direction = direction;
    for_each_plan(
        names(conv_kernel_table()),
        [&](const std::string& kernel) { return plan_conv(problem, device, kernel); },
        [&](const ConvPlan& plan) {
          list(device, plan.symbol,
               [&](cudaStream_t stream) { launch_conv(plan, problem, tensors, stream); });
        });
  }
  list(device, "", [&](cudaStream_t stream) { launch_bias_grad(problem, tensors, stream); });
}

void list_pool(PoolProblem problem, const DeviceCaps& device) {
  const PoolTensors tensors{anywhere, anywhere, static_cast<int64_t*>(anywhere),
                            static_cast<uint8_t*>(anywhere)};
  using enum PoolDirection;
  using enum PoolIndices;
  for (const auto& [direction, indices] :
       {std::pair(forward, positions), std::pair(forward, offsets), std::pair(forward, none),
        std::pair(backward, positions), std::pair(backward, offsets), std::pair(gather, positions),
        std::pair(gather, offsets)}) {
    problem.direction = direction, problem.indices = indices;
    for_each_plan(
        names(pool_kernel_table()),
        [&](const std::string& kernel) { return plan_pool(problem, device, kernel); },
        [&](const PoolPlan& plan) {
          list(device, plan.symbol,
               [&](cudaStream_t stream) { launch_pool(plan, problem, tensors, stream); });
        });
  }
}

void list_avg_pool(AvgPoolProblem problem, const DeviceCaps& device) {
  for (const auto direction : {AvgPoolDirection::forward, AvgPoolDirection::backward}) {
    problem.direction = direction;
    for_each_plan(
        names(avg_pool_kernel_table()),
        [&](const std::string& kernel) { return plan_avg_pool(problem, device, kernel); },
        [&](const PoolPlan& plan) {
          list(device, plan.symbol, [&](cudaStream_t stream) {
            launch_avg_pool(plan, problem, {anywhere, anywhere}, stream);
          });
        });
  }
}

// A launch does not depend on the type of the numbers: every instantiation has it, bytes too.
void list_unfold(UnfoldProblem problem, const DeviceCaps& device) {
  for (const auto direction : {UnfoldDirection::unfold, UnfoldDirection::fold}) {
    problem.direction = direction;
    const PoolPlan plan = plan_unfold(problem, device);
    list(device, "",
         [&](cudaStream_t stream) { launch_unfold(plan, problem, {anywhere, anywhere}, stream); });
  }
}

void list_window_pool(WindowPoolProblem problem, const DeviceCaps& device) {
  for (const auto direction :
       {WindowPoolDirection::forward, WindowPoolDirection::backward, WindowPoolDirection::unpool}) {
    problem.direction = direction;
    for_each_plan(
        names(window_pool_kernel_table()),
        [&](const std::string& kernel) { return plan_window_pool(problem, device, kernel); },
        [&](const PoolPlan& plan) {
          list(device, plan.symbol, [&](cudaStream_t stream) {
            launch_window_pool(plan, problem,
                               {anywhere, anywhere, static_cast<int64_t*>(anywhere), anywhere},
                               stream);
          });
        });
  }
}

void list_line(const std::string& line) {
  NamedProblem named = parse_problem(line);
  for (const DeviceCaps& device : known_devices) {
    emulator::set_gpu(0, device);
    for (const Layout layout : {Layout::nchw, Layout::nhwc})
      for (const DType dtype : dtypes) {
        named.conv.layout = named.pool.layout = named.avg_pool.layout = layout;
        named.conv.dtype = named.pool.dtype = named.avg_pool.dtype = dtype;
        named.window_pool.layout = layout, named.window_pool.dtype = dtype;
        named.unfold.dtype = dtype;
        if (named.is_unfold) {
          list_unfold(named.unfold, device);
        } else if (named.is_window_pool) {
          list_window_pool(named.window_pool, device);
        } else if (named.is_avg_pool) {
          list_avg_pool(named.avg_pool, device);
        } else if (named.is_pool) {
          list_pool(named.pool, device);
        } else {
          list_conv(named.conv, device);
        }
      }
  }
}

}  // namespace

void list_files(int count, char** paths) {
  for (int i = 0; i < count; ++i) {
    std::ifstream file(paths[i]);
    if (!file) throw std::invalid_argument("cannot read " + std::string(paths[i]));
    for (std::string line; std::getline(file, line);) {
      line = line.substr(0, line.find('#'));
      if (line.find_first_not_of(" \t\r") != std::string::npos) list_line(line);
    }
  }
  for (const std::string& line : lines) std::cout << line << "\n";
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE

int main(int argc, char** argv) {
  try {
    cnnkern::CNNKERN_CUDA_NAMESPACE::list_files(argc - 1, argv + 1);
  } catch (const std::exception& error) {
    std::cerr << "list_launches: " << error.what() << "\n";
    return 1;
  }
}
