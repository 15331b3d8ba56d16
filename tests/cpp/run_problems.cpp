// Runs every CUDA kernel that takes a problem in the emulator and compares it with the reference,
// bit for bit: inputs are small integers, so sums are exact whatever their order. Kernels that
// round to tf32 get neighbours of these integers, ties included, which have to become them.
//
//   run_problems [--seeds N] [--first-seed S] [--arch sm_75|sm_80] [--kernel NAME]
//                [--exactly] [--thin] [--races] [--problem "…"]… [file.txt…]
//
// A line is a problem (common/problem_string.h). Unless --exactly is given, a line that does not
// name a convolution's direction stands for all directions, both layouts, its own dtype and one
// more that changes with line and seed. The seed
// fixes inputs, pointer alignment and the order of threads. A kernel that refuses a problem for the
// real device is asked once more for one with a single multiprocessor, which big tiles fill. A
// refusal is counted and shown, it is not a pass. --races looks for data races as well. --thin runs
// one tile of a kernel for each problem and float32 in one layout, other ones each time, and on
// sm_75 only the kernels whose code differs from that of sm_80.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <functional>
#include <iomanip>
#include <iostream>
#include <iterator>
#include <map>
#include <set>
#include <sstream>

#include "avg_pool_gradients.h"
#include "common/problem_string.h"
#include "cpu/pool/unfold.h"
#include "cpu/reference.h"
#include "cpu/reference_avg_pool.h"
#include "cpu/reference_window_pool.h"
#include "cuda/conv/group_packing.h"
#include "emulator/arch_path.h"
#include "emulator/gpus.h"
#include "emulator/launch.h"
#include "guarded_buffer.h"
#include "window_pool_inputs.h"

namespace cnnkern {
namespace {

struct Options {
  uint64_t seeds = 1, first_seed = 0;
  std::string arch, kernel;
  bool exactly = false, thin = false, races = false;
  std::vector<std::string> problems;
};

struct Tally {
  int ran = 0, failed = 0;
  std::map<std::string, int> ran_by_kernel;
  std::map<std::string, double> seconds;  // of processor time in the emulator, by kernel
  std::map<std::string, int> refused;     // "kernel: reason"
};

// What is running, for the line that repeats it; a sanitizer may end the process at any time.
std::string repeat_line;

const ParallelFor serial = [](int64_t tasks, const auto& body) { body(0, tasks); };

// One tensor of a problem: what the kernel gets, and what the reference gets.
struct Pair {
  GuardedBuffer kernel, reference;

  Pair(int64_t elements, int64_t size, int64_t offset)
      : kernel(elements, size, offset), reference(elements, size, 0) {}

  /// Empty if the kernel left what the reference left, and nothing around it.
  std::string compare(const char* name) {
    const int64_t at = kernel.first_difference(reference);
    if (at >= 0)
      return std::string(name) + " differs from the reference first at element " +
             std::to_string(at) + " of " + std::to_string(kernel.elements());
    if (!kernel.guards_intact()) return std::string(name) + " was written out of its bounds";
    return "";
  }
};

class Runner {
 public:
  Runner(const ArchPath& arch, const Options& options, Tally& tally)
      : arch_(arch), options_(options), tally_(tally) {}

  void run(const ConvProblem& problem, uint64_t seed) {
    if (problem.direction == ConvDirection::wgrad && !as_on_sm80()) run_bias_grad(problem, seed);
    std::set<std::string> names, tiles;
    for (const ConvKernelInfo& info : conv_kernel_table(arch_.device->arch))
      if (info.direction == problem.direction && info.dtype == problem.dtype &&
          (info.any_layout || info.layout == problem.layout) &&
          (has_two_paths(info.family) || !as_on_sm80()))
        (is_tile(info.family) ? tiles : names).insert(info.name);
    bool taken = as_on_sm80();  // what takes all problems is not asked
    for (const std::string& name : names) taken |= run_kernel(problem, name, seed);
    // A layout pass is the same for all tiles: unless one is asked for, another one each time.
    const bool one =
        options_.kernel.empty() && (options_.thin || pack_groups(problem, *arch_.device).any());
    std::vector<std::string> order(tiles.begin(), tiles.end());
    if (one && !order.empty()) {
      const size_t first = std::hash<std::string>()(to_string(problem)) + seed;
      std::rotate(order.begin(), order.begin() + first % order.size(), order.end());
    }
    for (const std::string& name : order) {
      const bool ran = run_kernel(problem, name, seed);
      taken |= ran;
      if (ran && one) break;
    }
    require_taken(taken, to_string(problem));
  }

  void run(const PoolProblem& problem, uint64_t seed) {
    run_each(pool_kernel_table(), plan_pool, &Runner::run_pool, problem, seed);
    if (options_.exactly) return;
    for (const PoolIndices indices : {PoolIndices::none, PoolIndices::offsets}) {
      PoolProblem other = problem;
      other.indices = indices;
      if (indices == PoolIndices::none ? problem.direction == PoolDirection::forward
                                       : problem.window.volume() <= max_offset_taps)
        run_each(pool_kernel_table(), plan_pool, &Runner::run_pool, other, seed);
    }
  }
  void run(const AvgPoolProblem& problem, uint64_t seed) {
    run_each(avg_pool_kernel_table(), plan_avg_pool, &Runner::run_avg_pool, problem, seed);
  }
  void run(const WindowPoolProblem& problem, uint64_t seed) {
    run_each(window_pool_kernel_table(), plan_window_pool, &Runner::run_window_pool, problem, seed);
  }
  void run(const UnfoldProblem& problem, uint64_t seed) {
    run_each(unfold_kernel_table(), plan_unfold, &Runner::run_unfold, problem, seed);
  }

 private:
  /// Whether all code that is the same on both paths is left to sm_80.
  bool as_on_sm80() const { return options_.thin && arch_.device->arch < 80; }

  static bool is_tile(ConvKernelFamily family) {
    return family == ConvKernelFamily::mma || family == ConvKernelFamily::mma_3xtf32 ||
           family == ConvKernelFamily::simt || family == ConvKernelFamily::f64;
  }
  static bool has_two_paths(ConvKernelFamily family) {
    return is_tile(family) || family == ConvKernelFamily::first_layer ||
           family == ConvKernelFamily::ladder;
  }

  /// False if the kernel is not wanted or refuses the problem.
  bool run_kernel(const ConvProblem& problem, const std::string& name, uint64_t seed) {
    ConvPlan plan;
    if (!wanted(name) ||
        !planned(name, [&](const DeviceCaps& device) { plan = plan_conv(problem, device, name); }))
      return false;
    // No tile shares the work of `direct`: unless it is asked for, small problems are enough.
    const double most_direct_flops = options_.thin ? 1e5 : 1e6;
    if (name != "direct" || !options_.kernel.empty() || problem.flops() <= most_direct_flops)
      check(name, to_string(problem), seed, [&] { return run_conv(plan, problem, seed); });
    return true;
  }

  // Every kernel of a pooling's table that takes the problem.
  template <class Info, class Plan, class Problem>
  void run_each(const std::vector<Info>& table,
                Plan (*make)(const Problem&, const DeviceCaps&, const std::string&),
                std::string (Runner::*run_one)(const Plan&, const Problem&, uint64_t),
                const Problem& problem, uint64_t seed) {
    if (as_on_sm80()) return;
    bool taken = false;
    for (const Info& info : table) {
      Plan plan;
      if (info.direction == problem.direction && info.dtype == problem.dtype && wanted(info.name) &&
          planned(info.name,
                  [&](const DeviceCaps& device) { plan = make(problem, device, info.name); })) {
        taken = true;
        check(info.name, to_string(problem), seed,
              [&] { return (this->*run_one)(plan, problem, seed); });
      }
    }
    require_taken(taken, to_string(problem));
  }

  bool wanted(const std::string& kernel) const {
    return options_.kernel.empty() || options_.kernel == kernel;
  }

  /// Calls plan(device), which throws the reason of a refusal; false if the small one refuses too.
  template <class Plan>
  bool planned(const std::string& kernel, Plan&& plan) {
    try {
      plan(*arch_.device);
      return true;
    } catch (const std::runtime_error&) {
    }
    DeviceCaps small = *arch_.device;
    small.multiprocessors = 1;
    try {
      plan(small);
      return true;
    } catch (const std::runtime_error& refusal) {
      ++tally_.refused[kernel + ": " + without_numbers(refusal.what())];
      return false;
    }
  }

  // "… C/G = 3 is no multiple of 4" becomes "… C/G = # is no multiple of #", to count by reason.
  static std::string without_numbers(const std::string& sentence) {
    std::string result;
    for (const char c : sentence.substr(std::min(sentence.size(), sentence.find(": ") + 2)))
      if (!std::isdigit(static_cast<unsigned char>(c))) result += c;
      else if (result.empty() || result.back() != '#') result += '#';
    return result;
  }

  void require_taken(bool taken, const std::string& problem) {
    if (taken || !options_.kernel.empty()) return;
    ++tally_.failed;
    std::cout << "FAILED no kernel takes " << problem << " on " << arch_.device->name << "\n";
  }

  // Calls run(), which says what is wrong, or nothing.
  template <class Run>
  void check(const std::string& kernel, const std::string& problem, uint64_t seed, Run&& run) {
    std::ostringstream line;
    line << "run_problems --exactly --problem \"" << problem << "\" --kernel " << kernel
         << " --arch " << arch_.device->name << " --first-seed " << seed
         << (options_.races ? " --races" : "");
    repeat_line = line.str();
    emulator::set_seed(seed);
    ++tally_.ran;
    ++tally_.ran_by_kernel[kernel];
    std::string wrong;
    try {
      wrong = run();
    } catch (const std::exception& error) {
      wrong = error.what();
    }
    if (wrong.empty()) return;
    ++tally_.failed;
    std::cout << "FAILED " << repeat_line << "\n  " << wrong << std::endl;
  }

  template <class Launch>
  void timed(const std::string& kernel, Launch&& launch) {
    const std::clock_t begin = std::clock();
    launch();
    tally_.seconds[kernel] += static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  }

  static int64_t offset(uint64_t seed, int tensor) {
    constexpr int64_t offsets[] = {0, 1, 3, 0};  // half the runs see aligned tensors
    return seed % 2 == 0 ? 0 : offsets[(seed / 2 + static_cast<uint64_t>(tensor)) % 4];
  }

  std::string run_conv(const ConvPlan& plan, const ConvProblem& p, uint64_t seed) {
    const int64_t size = size_of(p.dtype);
    RandomIntegers random(seed);
    Pair input(p.input_elements(), size, offset(seed, 0));
    Pair weight(p.weight_elements(), size, offset(seed, 1));
    Pair output(p.output_elements(), size, offset(seed, 2));
    Pair bias(p.direction == ConvDirection::dgrad ? p.c : p.k, size, offset(seed, 3));
    Pair residual(p.residual ? p.output_elements() : 0, size, offset(seed, 4));
    Pair preactivation(p.preactivation ? p.output_elements() : 0, size, offset(seed, 5));
    GuardedBuffer workspace(plan.workspace_bytes, 1, 0);
    for (Pair* tensor : {&input, &weight, &output, &bias, &residual})
      tensor->reference.fill_integers(p.dtype, random, 2);
    if (plan.kernel.find("3xtf32") != std::string::npos) {
      const bool forward = p.direction == ConvDirection::fprop;
      Pair& a = forward ? input : output;
      Pair& b = p.direction == ConvDirection::wgrad ? input : weight;
      widen((seed / 2 % 2 == forward ? a : b).reference);
    }
    for (Pair* tensor : {&input, &weight, &output, &bias, &residual})
      tensor->kernel.copy_from(tensor->reference);
    Pair& result = p.direction == ConvDirection::fprop   ? output
                   : p.direction == ConvDirection::dgrad ? input
                                                         : weight;
    const bool rounds = plan.tf32 && seed % 2 == 0;  // misaligned tensors go to another kernel
    if (rounds)
      for (Pair* tensor : {&input, &weight, &output}) blur(tensor->kernel, random);
    result.kernel.fill_nan();
    preactivation.kernel.fill_nan();
    const bool with_bias = p.direction != ConvDirection::wgrad && seed % 3 != 1;
    const auto tensors = [&](GuardedBuffer Pair::* side, void* scratch) {
      return ConvTensors{(input.*side).data(),
                         (weight.*side).data(),
                         (output.*side).data(),
                         with_bias ? (bias.*side).data() : nullptr,
                         scratch,
                         p.residual ? (residual.*side).data() : nullptr,
                         p.preactivation ? (preactivation.*side).data() : nullptr};
    };
    cpu::reference_conv(p, tensors(&Pair::reference, nullptr), serial);
    timed(plan.kernel,
          [&] { arch_.launch_conv(plan, p, tensors(&Pair::kernel, workspace.data())); });
    // Its transforms divide by 6 and 24, so that results come out rounded; a wrong index would be
    // off by far more.
    constexpr float rounding = 1 / 256.0f;
    if (plan.kernel == "winograd_4x4")
      for (Pair* pair : {&result, &preactivation})
        for (size_t i = 0; i < pair->kernel.elements(); ++i) {
          float& found = pair->kernel.as<float>()[i];
          const float wanted = pair->reference.as<float>()[i];
          if (std::abs(found - wanted) < rounding) found = wanted;
        }
    if (rounds)  // what was read differs on purpose
      for (Pair* tensor : {&input, &weight, &output})
        if (tensor != &result) tensor->reference.copy_from(tensor->kernel);
    std::string wrong = input.compare("input") + weight.compare("weight") +
                        output.compare("output") + bias.compare("bias") +
                        residual.compare("residual") + preactivation.compare("preactivation");
    if (!workspace.guards_intact()) wrong += "the workspace was written out of its bounds";
    return wrong;
  }

  /// Changes the bits of floats that tf32 lacks, so that the nearest tf32, ties away from zero, is
  /// what they were.
  static void blur(GuardedBuffer& floats, RandomIntegers& random) {
    constexpr int half = 0x1000;
    for (size_t i = 0; i < floats.elements(); ++i) {
      uint32_t& bits = floats.as<uint32_t>()[i];
      if (bits << 1 != 0)  // not of a zero
        bits += static_cast<uint32_t>(std::clamp(random(2 * half), -half, half - 1));
    }
  }

  /// More digits than a tf32 has, so that what is left of a number counts.
  static void widen(GuardedBuffer& floats) {
    for (size_t i = 0; i < floats.elements(); ++i) floats.as<float>()[i] *= (1 << 12) + 1;
  }

  void run_bias_grad(const ConvProblem& p, uint64_t seed) {
    if (!wanted("bias_grad")) return;
    check("bias_grad", to_string(p), seed, [&] {
      const int64_t size = size_of(p.dtype);
      RandomIntegers random(seed);
      Pair output(p.output_elements(), size, offset(seed, 0)), bias(p.k, size, offset(seed, 1));
      output.reference.fill_integers(p.dtype, random, 2);
      output.kernel.copy_from(output.reference);
      ConvTensors tensors;
      tensors.output = output.reference.data();
      cpu::reference_bias_grad(p, tensors, bias.reference.data());
      tensors.output = output.kernel.data();
      tensors.bias = bias.kernel.data();
      timed("bias_grad", [&] { arch_.launch_bias_grad(p, tensors); });
      return output.compare("output") + bias.compare("bias");
    });
  }

  std::string run_pool(const PoolPlan& plan, const PoolProblem& p, uint64_t seed) {
    const int64_t size = size_of(p.dtype);
    RandomIntegers random(seed);
    Pair input(p.input_elements(), size, offset(seed, 0));
    Pair output(p.output_elements(), size, offset(seed, 1));
    Pair indices(p.output_elements(), 8, offset(seed, 2));
    Pair offsets(p.output_elements(), 1, offset(seed, 2));
    for (Pair* tensor : {&input, &output})
      tensor->reference.fill_integers(p.dtype, random, 3);  // few values, so there are ties
    const auto tensors = [&](GuardedBuffer Pair::* side) {
      return PoolTensors{
          (input.*side).data(), (output.*side).data(),
          p.indices == PoolIndices::positions ? (indices.*side).as<int64_t>() : nullptr,
          p.indices == PoolIndices::offsets ? (offsets.*side).as<uint8_t>() : nullptr};
    };
    // backward and gather follow indices that a forward run has left.
    PoolProblem forward = p;
    forward.direction = PoolDirection::forward;
    if (p.direction != PoolDirection::forward) {
      cpu::reference_pool(forward, tensors(&Pair::reference), serial);
      output.reference.fill_integers(p.dtype, random, 3);
      indices.kernel.copy_from(indices.reference);
      offsets.kernel.copy_from(offsets.reference);
    }
    input.kernel.copy_from(input.reference);
    output.kernel.copy_from(output.reference);
    (p.direction == PoolDirection::backward ? input : output).kernel.fill_nan();
    cpu::reference_pool(p, tensors(&Pair::reference), serial);
    timed(plan.kernel, [&] { arch_.launch_pool(plan, p, tensors(&Pair::kernel)); });
    return input.compare("input") + output.compare("output") + indices.compare("indices") +
           offsets.compare("offsets");
  }

  std::string run_avg_pool(const PoolPlan& plan, const AvgPoolProblem& p, uint64_t seed) {
    const int64_t size = size_of(p.dtype);
    RandomIntegers random(seed);
    Pair input(p.input_elements(), size, offset(seed, 0));
    Pair output(p.output_elements(), size, offset(seed, 1));
    const auto tensors = [&](GuardedBuffer Pair::* side) {
      return AvgPoolTensors{(input.*side).data(), (output.*side).data()};
    };
    const bool forward = p.direction == AvgPoolDirection::forward;
    Pair &read = forward ? input : output, &written = forward ? output : input;
    read.reference.fill_integers(p.dtype, random, 2);
    if (!forward) multiply_by_divisors(p, read.reference.data());
    read.kernel.copy_from(read.reference);
    written.kernel.fill_nan();
    cpu::reference_avg_pool(p, tensors(&Pair::reference), serial);
    timed(plan.kernel, [&] { arch_.launch_avg_pool(plan, p, tensors(&Pair::kernel)); });
    return input.compare("input") + output.compare("output");
  }

  std::string run_unfold(const PoolPlan& plan, const UnfoldProblem& p, uint64_t seed) {
    const int64_t size = size_of(p.dtype);
    RandomIntegers random(seed);
    Pair image(p.image_elements() * p.parts, size, offset(seed, 0));
    Pair columns(p.column_elements() * p.parts, size, offset(seed, 1));
    Pair& result = p.fold() ? image : columns;
    Pair& given = p.fold() ? columns : image;
    given.reference.fill_integers(p.dtype, random, 3);
    given.kernel.copy_from(given.reference);
    const auto tensors = [&](GuardedBuffer Pair::* side) {
      return UnfoldTensors{(image.*side).data(), (columns.*side).data()};
    };
    cpu::run_unfold_cpu(p, tensors(&Pair::reference), serial);
    timed(plan.kernel, [&] { arch_.launch_unfold(plan, p, tensors(&Pair::kernel)); });
    return given.compare("what was given") + result.compare("the result");
  }

  std::string run_window_pool(const PoolPlan& plan, const WindowPoolProblem& p, uint64_t seed) {
    const int64_t size = size_of(p.dtype);
    RandomIntegers random(seed);
    Pair input(p.input_elements(), size, offset(seed, 0));
    Pair output(p.output_elements(), size, offset(seed, 1));
    Pair indices(p.output_elements(), 8, offset(seed, 2));
    Pair samples(p.sample_elements(), size, offset(seed, 3));
    const auto tensors = [&](GuardedBuffer Pair::* side) {
      return WindowPoolTensors{(input.*side).data(), (output.*side).data(),
                               (indices.*side).as<int64_t>(),
                               p.fractional ? (samples.*side).data() : nullptr};
    };
    const bool forward = p.direction == WindowPoolDirection::forward;
    input.reference.fill_integers(p.dtype, random, 3);  // few values, so there are ties
    output.reference.fill_integers(p.dtype, random, 3);
    fill_samples(p, random, samples.reference.data());
    if (p.direction == WindowPoolDirection::unpool) {
      fill_positions(p, random, indices.reference.as<int64_t>());
    } else if (!forward) {  // backward follows indices that a forward run has left
      WindowPoolProblem first = p;
      first.direction = WindowPoolDirection::forward;
      cpu::reference_window_pool(first, tensors(&Pair::reference), serial);
      output.reference.fill_integers(p.dtype, random, 3);
    }
    for (Pair* tensor : {&input, &output, &indices, &samples})
      tensor->kernel.copy_from(tensor->reference);
    (forward ? output : input).kernel.fill_nan();
    cpu::reference_window_pool(p, tensors(&Pair::reference), serial);
    timed(plan.kernel, [&] { arch_.launch_window_pool(plan, p, tensors(&Pair::kernel)); });
    return input.compare("input") + output.compare("output") + indices.compare("indices") +
           samples.compare("samples");
  }

  const ArchPath& arch_;
  const Options& options_;
  Tally& tally_;
};

template <class Problem, class Direction>
void run_variants(Runner& runner, const Problem& line, size_t line_number,
                  const std::vector<Direction>& directions, const Options& options) {
  constexpr DType dtypes[] = {DType::float16, DType::float64, DType::bfloat16, DType::float32};
  for (uint64_t seed = options.first_seed; seed < options.first_seed + options.seeds; ++seed) {
    if (options.exactly) {
      runner.run(line, seed);
      continue;
    }
    for (const Direction direction : directions)
      for (const Layout layout : {Layout::nchw, Layout::nhwc})
        for (const DType dtype : std::set{line.dtype, dtypes[(line_number + seed) % 4]}) {
          const size_t turn = line_number + seed + static_cast<size_t>(direction);
          if (options.thin && dtype == DType::float32 && turn % 2 == static_cast<size_t>(layout))
            continue;
          Problem problem = line;
          problem.direction = direction, problem.layout = layout, problem.dtype = dtype;
          runner.run(problem, seed);
        }
  }
}

// Elements are pairs for every other seed.
void run_unfolds(Runner& runner, const UnfoldProblem& line, size_t line_number,
                 const Options& options) {
  constexpr DType dtypes[] = {DType::float16, DType::float64, DType::bfloat16, DType::float32};
  for (uint64_t seed = options.first_seed; seed < options.first_seed + options.seeds; ++seed) {
    if (options.exactly) {
      runner.run(line, seed);
      continue;
    }
    for (const UnfoldDirection direction : {UnfoldDirection::unfold, UnfoldDirection::fold})
      for (const DType dtype : std::set{line.dtype, dtypes[(line_number + seed) % 4]}) {
        UnfoldProblem problem = line;
        problem.direction = direction, problem.dtype = dtype;
        problem.parts = seed % 2 == 1 && dtype != DType::bfloat16 ? 2 : 1;
        runner.run(problem, seed);
      }
  }
}

bool names_direction(const std::string& line) {
  std::istringstream words(line);
  return std::any_of(std::istream_iterator<std::string>(words), {}, [](const std::string& word) {
    return word == "fprop" || word == "dgrad" || word == "wgrad";
  });
}

void run_line(size_t line_number, const ArchPath& arch, const Options& options, Tally& tally) {
  Runner runner(arch, options, tally);
  const std::string& line = options.problems[line_number];
  const NamedProblem problem = parse_problem(line);
  const bool fused = problem.conv.fused();
  if (names_direction(line))
    for (uint64_t seed = options.first_seed; seed < options.first_seed + options.seeds; ++seed)
      runner.run(problem.conv, seed);
  else if (problem.is_avg_pool)
    run_variants<AvgPoolProblem, AvgPoolDirection>(
        runner, problem.avg_pool, line_number,
        {AvgPoolDirection::forward, AvgPoolDirection::backward}, options);
  else if (problem.is_unfold) run_unfolds(runner, problem.unfold, line_number, options);
  else if (problem.is_window_pool)
    run_variants<WindowPoolProblem, WindowPoolDirection>(
        runner, problem.window_pool, line_number,
        problem.window_pool.direction == WindowPoolDirection::unpool
            ? std::vector{WindowPoolDirection::unpool}
            : std::vector{WindowPoolDirection::forward, WindowPoolDirection::backward},
        options);
  else if (problem.is_pool)
    run_variants<PoolProblem, PoolDirection>(
        runner, problem.pool, line_number,
        {PoolDirection::forward, PoolDirection::backward, PoolDirection::gather}, options);
  else
    run_variants<ConvProblem, ConvDirection>(
        runner, problem.conv, line_number,
        fused ? std::vector{ConvDirection::fprop}
              : std::vector{ConvDirection::fprop, ConvDirection::dgrad, ConvDirection::wgrad},
        options);
}

void read_problems(const std::string& path, std::vector<std::string>& problems) {
  std::ifstream file(path);
  if (!file) throw std::invalid_argument("cannot read " + path);
  for (std::string line; std::getline(file, line);) {
    line = line.substr(0, line.find('#'));
    if (line.find_first_not_of(" \t\r") != std::string::npos) problems.push_back(line);
  }
}

Options parse_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto value = [&]() -> std::string {
      if (i + 1 == argc) throw std::invalid_argument(word + " needs a value");
      return argv[++i];
    };
    if (word == "--seeds") options.seeds = std::stoull(value());
    else if (word == "--first-seed") options.first_seed = std::stoull(value());
    else if (word == "--arch") options.arch = value();
    else if (word == "--kernel") options.kernel = value();
    else if (word == "--exactly") options.exactly = true;
    else if (word == "--thin") options.thin = true;
    else if (word == "--races") options.races = true;
    else if (word == "--problem") options.problems.push_back(value());
    else if (word.starts_with("--")) throw std::invalid_argument("unknown option " + word);
    else read_problems(word, options.problems);
  }
  return options;
}

int run_all(const Options& options) {
  Tally tally;
  if (options.races) emulator::set_race_check(true);
  for (const ArchPath& arch : {emulated_sm75::arch_path(), emulated_sm80::arch_path()})
    if (options.arch.empty() || options.arch == arch.device->name) {
      emulator::set_gpu(0, *arch.device);
      for (size_t line = 0; line < options.problems.size(); ++line)
        run_line(line, arch, options, tally);
    }
  std::cout << std::fixed << std::setprecision(3);
  for (const auto& [kernel, count] : tally.ran_by_kernel)
    std::cout << "ran " << count << " " << kernel << " in " << tally.seconds[kernel] << " s\n";
  for (const auto& [reason, count] : tally.refused)
    std::cout << "refused " << count << " " << reason << "\n";
  std::cout << tally.ran << " ran, " << tally.failed << " failed\n";
  return tally.failed != 0 || tally.ran == 0;
}

}  // namespace
}  // namespace cnnkern

#if defined(__SANITIZE_ADDRESS__)
extern "C" void __sanitizer_set_death_callback(void (*callback)());
#endif

int main(int argc, char** argv) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_set_death_callback(
      [] { std::fprintf(stderr, "FAILED %s\n", cnnkern::repeat_line.c_str()); });
#endif
  try {
    return cnnkern::run_all(cnnkern::parse_options(argc, argv));
  } catch (const std::exception& error) {
    std::cerr << "run_problems: " << error.what() << "\n";
    return 2;
  }
}
