// Offsets beyond 2^31: every CUDA kernel on tensors larger than this machine's memory.
//
//   run_large [--arch sm_75|sm_80] [--kernel NAME] [problem…]
//
// Tensors are sparse (sparse_tensor.h), and of each launch two blocks run, the middle one and the
// last, on what they read alone (large_problems.h). A kernel that cuts an offset to 32 bits reads
// zeros instead of what was put there, or writes elsewhere. A line stands for both layouts, unless
// it names the second, a pooling for its directions.
#include <iostream>
#include <set>

#include "common/problem_string.h"
#include "emulator/arch_path.h"
#include "emulator/launch.h"
#include "large_avg_pool.h"
#include "large_problems.h"
#include "large_window_pool.h"

namespace cnnkern {
namespace {

// Together they have every term of every tensor's offset beyond 2^31: image, channel, row. The work
// of a block stays small: few channels to sum over, or, where pixels are summed, few pixels.
const std::vector<std::string> default_problems = {
    "n2c8h50000w50000k8r3s3u2p1",        // input and output
    "n1c1028h4w4k2100004r1",             // weight
    "n2c8h50000w50000k8r3s3u2p1 dgrad",  // input and output
    "n1c2100004h4w4k1028r1 dgrad",       // weight
    "n2c528388h64w64k528388r1 wgrad",    // all three, and the bias gradient
    "n2c8h50000w50000k8r3s3u2p1 f64",    // input and output, as above
    "n1c1028h4w4k2100004r1 f64",
    "n2c8h50000w50000k8r3s3u2p1 dgrad f64",
    "n1c2100004h4w4k1028r1 dgrad f64",
    "n2c528388h64w64k528388r1 wgrad f64",
    // Tensor cores, without a layout pass; larger images, and weights in other directions, they
    // refuse.
    "n300c8h2000w2000k8r3s3u2p1 f16 nhwc",
    "n1c1032h4w4k2100008r1 f16 nhwc",
    "n300c8h2000w2000k8r3s3u2p1 dgrad f16 nhwc",
    "n64c528392h8w8k528392r1 wgrad f16 nhwc",  // all three
    "n300c8h2000w2000k8r3s3u2p1 bf16 nhwc",
    "n300c8h2000w2000k8r3s3u2p1 dgrad bf16 nhwc",
    "n64c528392h8w8k528392r1 wgrad bf16 nhwc",
    "n300c8h2000w2000k8r3s3u2p1 tf32 nhwc",
    "n300c8h2000w2000k8r3s3u2p1 dgrad tf32 nhwc",
    "n64c528392h8w8k528392r1 wgrad tf32 nhwc",
    "n300c8h2000w2000k8r3s3u2p1 f32 nhwc",
    "n300c8h2000w2000k8r3s3u2p1 dgrad f32 nhwc",
    "n64c528392h8w8k528392r1 wgrad f32 nhwc",
    "n2c3h50000w50000r3s3p1 maxpool",                 // input, output and indices
    "n2c3h50000w50000r2s2p1 avgpool",                 // input and output
    "n2c4h20000w20000r3s3p1 maxpool",                 // as above, in vectors
    "n2c4h20000w20000r3s3p1 maxpool values",          // likewise
    "n2c4h20000w20000r3s3p1 maxpool offsets",         // likewise, beside bytes
    "n2c4h20000w20000r2s2p1 avgpool",                 // likewise
    "n2c40000000h8w4r8s4 avgpool",                    // input
    "n2c3h50000w50000r30000s40000 adaptive_maxpool",  // input, output and indices
    "n2c4h20000w20000r12000s16000 adaptive_maxpool",  // likewise, in vectors
    "n2c1100000000h1w2r1s1 max_unpool",               // likewise
};

struct Options {
  std::string arch, kernel;
  std::vector<std::string> problems;
};

class Runner {
 public:
  Runner(const ArchPath& arch, const Options& options) : arch_(arch), options_(options) {}

  int ran = 0, failed = 0;

  void run(const std::string& line) {
    NamedProblem named = parse_problem(line);
    const bool channels_last = named.conv.layout == Layout::nhwc;
    for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
      if (channels_last && layout == Layout::nchw) continue;
      named.conv.layout = named.pool.layout = named.avg_pool.layout = layout;
      named.window_pool.layout = layout;
      if (named.is_window_pool) run_window_pool(named.window_pool, line);
      else if (named.is_avg_pool)
        for (const auto direction : {AvgPoolDirection::forward, AvgPoolDirection::backward}) {
          named.avg_pool.direction = direction;
          run(named.avg_pool, line);
        }
      else if (!named.is_pool) run(named.conv, line, channels_last);
      else
        for (const auto direction :
             {PoolDirection::forward, PoolDirection::backward, PoolDirection::gather}) {
          named.pool.direction = direction;
          if (named.pool.indices != PoolIndices::none || direction == PoolDirection::forward)
            run(named.pool, line);
        }
    }
  }

 private:
  /// Whether tensor cores, if the kernel is theirs, multiply this dtype here, and the problem is
  /// one that they do not refuse.
  bool takes(const ConvKernelInfo& info, const ConvProblem& p, bool channels_last) const {
    const bool on_tensor_cores =
        info.family == ConvKernelFamily::mma || info.family == ConvKernelFamily::mma_3xtf32;
    return !on_tensor_cores ||
           (channels_last && (p.dtype == DType::float16 || arch_.device->arch >= 80));
  }

  void run(const ConvProblem& p, const std::string& line, bool channels_last) {
    require_large({p.input_elements(), p.weight_elements(), p.output_elements()});
    std::set<std::string> names;
    for (const ConvKernelInfo& info : conv_kernel_table(arch_.device->arch))
      if (info.family != ConvKernelFamily::depthwise && info.family != ConvKernelFamily::ladder &&
          info.family != ConvKernelFamily::winograd &&  // the three refuse such tensors
          info.family != ConvKernelFamily::winograd_4x4 &&
          info.family != ConvKernelFamily::first_layer && info.rounds_to_tf32() == p.tf32 &&
          info.direction == p.direction && info.dtype == p.dtype &&
          (info.any_layout || info.layout == p.layout) && takes(info, p, channels_last))
        names.insert(info.name);
    for (const std::string& name : names)
      check(name, p.layout, line, [&] {
        const ConvPlan plan = plan_conv(p, *arch_.device, name);
        dispatch(p.dtype, [&]<class T>(T) {
          LargeConv<T> large(p, plan);
          run_two_blocks(large, [&] { arch_.launch_conv(plan, p, large.tensors()); });
        });
      });
    if (p.direction == ConvDirection::wgrad && p.dtype == DType::float32)
      check("bias_grad", p.layout, line, [&] {
        LargeBiasGrad large(p);
        run_two_blocks(large, [&] { arch_.launch_bias_grad(p, large.tensors()); });
      });
  }

  void run(const PoolProblem& p, const std::string& line) {
    require_large({p.input_elements(), p.output_elements()});
    each_plan(pool_kernel_table(), plan_pool, p, line, [&](const PoolPlan& plan) {
      LargePool large(p, plan);
      run_two_blocks(large, [&] { arch_.launch_pool(plan, p, large.tensors()); });
    });
  }

  void run(const AvgPoolProblem& p, const std::string& line) {
    require_large({p.input_elements(), p.output_elements()});
    each_plan(avg_pool_kernel_table(), plan_avg_pool, p, line, [&](const PoolPlan& plan) {
      LargeAvgPool large(p, plan);
      run_two_blocks(large, [&] { arch_.launch_avg_pool(plan, p, large.tensors()); });
    });
  }

  void run_window_pool(WindowPoolProblem p, const std::string& line) {
    require_large({p.input_elements(), p.output_elements()});
    const bool unpool = p.direction == WindowPoolDirection::unpool;
    for (const auto direction : {WindowPoolDirection::forward, WindowPoolDirection::backward,
                                 WindowPoolDirection::unpool}) {
      if ((direction == WindowPoolDirection::unpool) != unpool) continue;
      p.direction = direction;
      each_plan(window_pool_kernel_table(), plan_window_pool, p, line, [&](const PoolPlan& plan) {
        LargeWindowPool large(p, plan);
        run_two_blocks(large, [&] { arch_.launch_window_pool(plan, p, large.tensors()); });
      });
    }
  }

  // Runs every kernel of a pooling's table that takes the problem.
  template <class Row, class Problem, class Body>
  void each_plan(const std::vector<Row>& table,
                 PoolPlan (*make)(const Problem&, const DeviceCaps&, const std::string&),
                 const Problem& p, const std::string& line, Body&& body) {
    for (const Row& row : table) {
      if (row.direction != p.direction || row.dtype != p.dtype) continue;
      PoolPlan plan;
      try {
        plan = make(p, *arch_.device, row.name);
      } catch (const std::runtime_error&) {
        continue;  // test_large.py knows which have to run
      }
      check(row.name, p.layout, line, [&] { body(plan); });
    }
  }

  static void require_large(std::initializer_list<int64_t> elements) {
    if (std::max(elements) <= int64_t{1} << 31)
      throw std::invalid_argument("no tensor of the problem has more than 2^31 elements");
  }

  template <class Large, class Launch>
  static void run_two_blocks(Large& large, Launch&& launch) {
    emulator::set_blocks([&](uint64_t blocks) {
      const std::vector<uint64_t> chosen = {blocks / 2, blocks - 1};
      for (const uint64_t block : chosen) large.expect(block);
      return chosen;
    });
    launch();
    large.check();
  }

  // A refusal of a convolution throws as well: these problems are for kernels that take them.
  template <class Body>
  void check(const std::string& kernel, Layout layout, const std::string& line, Body&& body) {
    if (!options_.kernel.empty() && options_.kernel != kernel) return;
    ++ran;
    const std::string arch = arch_.device->name;
    try {
      body();
      std::cout << "ok " << arch << " " << to_string(layout) << " " << kernel << " " << line
                << "\n";
    } catch (const std::runtime_error& error) {
      ++failed;
      std::cout << "FAILED run_large --arch " << arch << " --kernel " << kernel << " '" << line
                << "' (" << to_string(layout) << ")\n  " << error.what() << "\n";
    }
    emulator::set_blocks({});
    std::cout.flush();
  }

  const ArchPath& arch_;
  const Options& options_;
};

Options parse_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto value = [&]() -> std::string {
      if (i + 1 == argc) throw std::invalid_argument(word + " needs a value");
      return argv[++i];
    };
    if (word == "--arch") options.arch = value();
    else if (word == "--kernel") options.kernel = value();
    else if (word.starts_with("--")) throw std::invalid_argument("unknown option " + word);
    else options.problems.push_back(word);
  }
  if (options.problems.empty()) options.problems = default_problems;
  return options;
}

int run_all(const Options& options) {
  int ran = 0, failed = 0;
  for (const ArchPath& arch : {emulated_sm75::arch_path(), emulated_sm80::arch_path()}) {
    if (!options.arch.empty() && options.arch != arch.device->name) continue;
    Runner runner(arch, options);
    for (const std::string& line : options.problems) runner.run(line);
    ran += runner.ran, failed += runner.failed;
  }
  std::cout << ran << " ran, " << failed << " failed\n";
  return failed != 0 || ran == 0;
}

}  // namespace
}  // namespace cnnkern

int main(int argc, char** argv) {
  try {
    return cnnkern::run_all(cnnkern::parse_options(argc, argv));
  } catch (const std::exception& error) {
    std::cerr << "run_large: " << error.what() << "\n";
    return 2;
  }
}
