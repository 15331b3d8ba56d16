// Every CPU kernel × instruction set × direction × layout × dtype against the reference, exactly.
//
// Inputs are small integers, so that every sum is exact and results compare bit for bit. Tensors
// lie at odd element offsets; what surrounds them is NaN and must still be there afterwards. Tasks
// run in a shuffled order and in two different cuts, and must give the same bits. Real-valued
// inputs then check that the cut changes nothing either.
//
// Built with one set of flags for all files, the 512-bit kernels become generic vectors of 64
// bytes, so that their tiles and tails run on any CPU. From the repository root (and again with
// -g -fsanitize=address,undefined):
//   g++ -std=c++20 -O2 -mavx2 -mfma -mf16c -Wno-psabi -Icsrc -o /tmp/test_cpu_kernels
//     tests/cpp/test_cpu_kernels.cpp csrc/common/*_*.cpp csrc/cpu/*.cpp csrc/cpu/{conv,pool}/*.cpp
//   /tmp/test_cpu_kernels [problem…]      the files of tests/problems if there is none
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "avg_pool_gradients.h"
#include "common/problem_string.h"
#include "cpu/conv/conv_cpu.h"
#include "cpu/pool/avg_pool_cpu.h"
#include "cpu/pool/pool_cpu.h"
#include "cpu/pool/window_pool_cpu.h"
#include "cpu/reference.h"
#include "cpu/reference_avg_pool.h"
#include "cpu/reference_window_pool.h"
#include "window_pool_inputs.h"

namespace {

using namespace cnnkern;
using cpu::reference_conv;

const std::vector<std::string> built_in = {"n2c3h9w9k5r3p1",
                                           "n1c1h28w28k6r5p2",
                                           "n2c6h14w14k16r5",
                                           "n1c4h7w5k7r3p1",
                                           "n3c5h7w7k9r3p1",
                                           "n2c3h23w23k9r7u2p3",
                                           "n1c3h40w37k8r11u4p2",
                                           "n2c8h8w8k8r1",
                                           "n2c17h6w10k33r1",
                                           "n2c9h9w9k7r1u2",
                                           "n1c3h5w71k5r3u2p1",  // rows of vectors apart
                                           "n1c2h7w133k5r2s5uh3uw4pw2",
                                           "n1c4h5w5k4r3p1l2",
                                           "n2c4h12w11k6r3u2p1l2",
                                           "n2c6h9w9k9r3p1g3",
                                           "n2c8h9w9k8r3p1g8",
                                           "n1c4h9w11k8r3u2p1g4",
                                           "n1c2h3w3k3r5p2",
                                           "n1c2h4w4k3r2s5ph1pw3",
                                           "n1c5h6w40k4r1s7pw3",
                                           "n2c3h10w10k4r3pt0pb2pl1pr0",
                                           "n2c4w31k6s3p1",
                                           "n2c3w50k4s8u5p4",
                                           "n1c3d5h6w7k4r3p1",
                                           "n2c2d6h5w9k3t3r2s3u2p1",
                                           "n1c4d3h4w5k6t1r3s3pd0ph1pw1g2",
                                           "n0c3h8w8k4r3p1",
                                           "n1c3h9w9k4r2u3",
                                           "n1c70h6w6k80r3p1",
                                           "n1c300h5w5k20r1",
                                           "n2c20h20w20k100r3p1",
                                           "n1c3h16w16k4r4u4",
                                           "n1c2h5w5k2r1u7",
                                           "n2c16h8w8k1r3p1",
                                           "n1c40h14w14k40r3p1",
                                           "n6c8h28w28k10r5",
                                           "n1c1h1w1k1r1",
                                           "n1c600h3w3k530r3p1"};
const std::vector<std::string> built_in_pools = {
    "n2c3h9w9r3u2p1 maxpool",  "n2c5h8w8r2u2 maxpool",
    "n1c3h13w13r3u2 maxpool",  "n1c4h13w10r3u2p1 maxpool ceil",
    "n2c9h7w40r3u1p1 maxpool", "n1c17h6w6r2u2 maxpool",
    "n1c2h9w9r3u2l2 maxpool",  "n2c3w31s3u2p1 maxpool",
    "n1c3d5h6w7r2u2 maxpool",  "n2c4d6h5w9t3r2s3u2p1 maxpool ceil",
    "n1c2h5w5r5 maxpool",      "n1c33h12w12r3u3 maxpool",
    "n0c3h8w8r2u2 maxpool",    "n1c1h1w1r1 maxpool",
    "n1c16h55w55r3u2 maxpool", "n2c8h3w70r3u2p1 maxpool"};

int checks = 0, failures = 0;

void fail(const std::string& what) {
  if (++failures <= 30) std::fprintf(stderr, "FAIL %s\n", what.c_str());
}

// Cuts [0, tasks) in `pieces` ranges and runs them in a shuffled order.
ParallelFor in_pieces(int64_t pieces) {
  return [pieces](int64_t tasks, const std::function<void(int64_t, int64_t)>& body) {
    std::vector<int64_t> order(pieces);
    for (int64_t i = 0; i < pieces; ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), std::mt19937(7));
    for (const int64_t i : order) {
      const int64_t begin = tasks * i / pieces, end = tasks * (i + 1) / pieces;
      if (begin < end) body(begin, end);
    }
  };
}

// A tensor at an odd element offset between guards of NaN.
class Guarded {
 public:
  Guarded(DType dtype, int64_t count)
      : dtype_(dtype), count_(count), bytes_((count + 2 * guard) * size_of(dtype)) {
    dispatch(dtype, [&]<class T>(T) {
      const T nan = static_cast<T>(std::nanf(""));
      for (int64_t i = 0; i < count + 2 * guard; ++i)
        std::memcpy(bytes_.data() + i * sizeof(T), &nan, sizeof(T));
    });
    pristine_ = bytes_;
  }
  void fill(std::mt19937& random, bool integers) {
    dispatch(dtype_, [&]<class T>(T) {
      for (int64_t i = 0; i < count_; ++i) {
        const auto number = static_cast<int>(random() % 1024);
        const T value = static_cast<T>(integers ? static_cast<float>(number % 5 - 2)
                                                : static_cast<float>(number - 512) / 311.0f);
        std::memcpy(bytes_.data() + (guard + i) * sizeof(T), &value, sizeof(T));
      }
    });
  }
  // A few NaN and −inf among the values.
  void scatter_specials(std::mt19937& random) {
    dispatch(dtype_, [&]<class T>(T) {
      for (int64_t i = 0; i < count_; ++i) {
        const auto kind = random() % 16;
        const T value = static_cast<T>(kind == 0 ? std::nanf("") : -INFINITY);
        if (kind < 4) std::memcpy(bytes_.data() + (guard + i) * sizeof(T), &value, sizeof(T));
      }
    });
  }
  void* data() { return bytes_.data() + guard * size_of(dtype_); }
  bool same(const Guarded& other) const { return bytes_ == other.bytes_; }
  bool guards_intact() const {
    const int64_t size = guard * size_of(dtype_);
    return std::equal(bytes_.begin(), bytes_.begin() + size, pristine_.begin()) &&
           std::equal(bytes_.end() - size, bytes_.end(), pristine_.end() - size);
  }

 private:
  static constexpr int64_t guard = 37;
  DType dtype_;
  int64_t count_;
  std::vector<char> bytes_, pristine_;
};

// A weight packed once gives the same bits, without the weight itself; one that was packed for
// another instruction set is left aside.
template <class Run>
void check_packed(const ConvProblem& p, const char* kernel, cpu::Isa isa, const void* weight,
                  const Guarded& wanted, const Run& run, const std::string& what) {
  const cpu::Isa other = isa == cpu::Isa::scalar ? cpu::Isa::avx2 : cpu::Isa::scalar;
  const cpu::ConvCpuPlan plan = plan_conv_cpu(p, isa, kernel);
  Guarded unread(p.dtype, p.weight_elements());  // NaN
  for (const cpu::Isa packed_for : {isa, other}) {
    const cpu::ConvCpuPlan packing = plan_conv_cpu(p, packed_for, kernel);
    std::vector<char> packed(pack_weight_cpu(packing, p, weight, nullptr, in_pieces(1)));
    if (packed.empty()) continue;
    pack_weight_cpu(packing, p, weight, packed.data(), in_pieces(3));
    const Guarded found = run(
        [&](ConvTensors tensors, const auto& parallel) {
          tensors.packed = packed.data();
          if (packed_for == isa) tensors.weight = unread.data();
          run_conv_cpu(plan, p, tensors, parallel);
        },
        2);
    ++checks;
    if (!found.same(wanted))
      fail(what + ": differs with a weight packed for " + to_string(packed_for));
  }
}

void check_conv(ConvProblem p, bool with_bias) {
  std::mt19937 random(1);
  const bool dgrad = p.direction == ConvDirection::dgrad;
  Guarded input(p.dtype, p.input_elements()), weight(p.dtype, p.weight_elements());
  Guarded output(p.dtype, p.output_elements()), bias(p.dtype, dgrad ? p.c : p.k);
  Guarded residual(p.dtype, p.residual ? p.output_elements() : 0);
  Guarded& result = p.direction == ConvDirection::fprop ? output : dgrad ? input : weight;
  // tanh and its like are computed in vectors, to a few units in the last place.
  const bool exact = p.activation == Activation::none || p.activation == Activation::relu;
  for (const bool integers : {true, false}) {
    for (Guarded* tensor : {&input, &weight, &output, &bias, &residual})
      if (tensor != &result) tensor->fill(random, integers);
    const Guarded blank = result;
    const auto run = [&](const auto& compute, int64_t pieces) {
      result = blank;
      const ConvTensors tensors = {input.data(),  weight.data(),
                                   output.data(), with_bias ? bias.data() : nullptr,
                                   nullptr,       p.residual ? residual.data() : nullptr};
      compute(tensors, in_pieces(pieces));
      return result;
    };
    const Guarded expected = run(
        [&](const auto& tensors, const auto& parallel) { reference_conv(p, tensors, parallel); },
        1);
    for (const cpu::ConvCpuKernel& kernel : cpu::conv_cpu_kernel_table())
      for (const cpu::Isa isa : {cpu::Isa::scalar, cpu::Isa::avx2, cpu::Isa::avx512}) {
        if (!kernel.refuse(p, isa).empty()) continue;
        const auto compute = [&](const auto& tensors, const auto& parallel) {
          kernel.run(p, tensors, isa, parallel);
        };
        const Guarded whole = run(compute, 1), cut = run(compute, 7);
        const std::string what = to_string(p) + " " + kernel.name + " " + to_string(isa) +
                                 (with_bias ? " bias" : "") + (integers ? "" : " real");
        ++checks;
        // Winograd's transforms divide; tests/test_winograd.py bounds what that rounds.
        const bool whole_numbers = integers && exact && std::string(kernel.name) != "winograd";
        if (whole_numbers && !whole.same(expected)) fail(what + ": differs from the reference");
        if (!whole.same(cut)) fail(what + ": depends on the cut");
        if (!whole.guards_intact()) fail(what + ": wrote outside");
        if (p.direction == ConvDirection::fprop && kernel.pack)
          check_packed(p, kernel.name, isa, weight.data(), whole, run, what);
      }
  }
}

void check_bias_grad(const ConvProblem& p) {
  std::mt19937 random(2);
  Guarded output(p.dtype, p.output_elements());
  output.fill(random, true);
  const ConvTensors tensors = {nullptr, nullptr, output.data()};
  Guarded expected(p.dtype, p.k), actual(p.dtype, p.k);
  cpu::reference_bias_grad(p, tensors, expected.data());
  cpu::run_bias_grad_cpu(p, tensors, actual.data(), in_pieces(3));
  ++checks;
  if (!actual.same(expected)) fail(to_string(p) + ": bias gradient differs");
}

void check_pool(PoolProblem p, bool with_nan) {
  std::mt19937 random(3);
  Guarded input(p.dtype, p.input_elements()), output(p.dtype, p.output_elements());
  input.fill(random, true);
  if (with_nan) input.scatter_specials(random);
  std::vector<int64_t> expected_indices(p.output_elements() + 2, -7);
  std::vector<uint8_t> expected_offsets(p.output_elements() + 2, 99);
  const bool with_offsets = p.window.volume() <= max_offset_taps;
  p.direction = PoolDirection::forward;
  const Guarded blank_output = output, blank_input(p.dtype, p.input_elements());
  cpu::reference_pool(p,
                      {input.data(), output.data(), expected_indices.data() + 1,
                       with_offsets ? expected_offsets.data() + 1 : nullptr},
                      in_pieces(1));
  const Guarded expected = output, source = input;

  const auto each_kernel = [&](const auto& check) {
    for (const cpu::PoolCpuKernel& kernel : cpu::pool_cpu_kernel_table())
      for (const cpu::Isa isa : {cpu::Isa::scalar, cpu::Isa::avx2, cpu::Isa::avx512})
        if (kernel.refuse(p, isa).empty()) {
          ++checks;
          check(kernel, isa,
                to_string(p) + " " + to_string(p.direction) + " " + kernel.name + " " +
                    to_string(isa) + (with_nan ? " nan" : ""));
        }
  };
  each_kernel([&](const cpu::PoolCpuKernel& kernel, cpu::Isa isa, const std::string& what) {
    for (const PoolIndices kind :
         {PoolIndices::positions, PoolIndices::offsets, PoolIndices::none}) {
      if (kind == PoolIndices::offsets && !with_offsets) continue;
      std::vector<int64_t> indices(expected_indices.size(), -7);
      std::vector<uint8_t> offsets(expected_offsets.size(), 99);
      output = blank_output;
      p.indices = kind;
      kernel.run(p,
                 {input.data(), output.data(),
                  kind == PoolIndices::positions ? indices.data() + 1 : nullptr,
                  kind == PoolIndices::offsets ? offsets.data() + 1 : nullptr},
                 isa, in_pieces(5));
      if (!output.same(expected)) fail(what + ": differs from the reference");
      if (kind == PoolIndices::positions && indices != expected_indices)
        fail(what + ": indices differ");
      if (kind == PoolIndices::offsets && offsets != expected_offsets)
        fail(what + ": offsets differ");
      if (!input.same(source)) fail(what + ": changed its input");
    }
  });

  // Windows name positions outside their plane, or no tap, which no kernel may touch.
  const Guarded gradient = [&] {
    Guarded values = output;
    values.fill(random, true);
    return values;
  }();
  Guarded gradients[2] = {blank_input, blank_input};
  for (const PoolIndices kind : {PoolIndices::positions, PoolIndices::offsets}) {
    const bool offsets = kind == PoolIndices::offsets;
    if (offsets && !with_offsets) continue;
    p.indices = kind;
    const auto tensors = [&] {
      return PoolTensors{input.data(), output.data(),
                         offsets ? nullptr : expected_indices.data() + 1,
                         offsets ? expected_offsets.data() + 1 : nullptr};
    };
    p.direction = PoolDirection::gather;
    input = source, output = blank_output;
    cpu::reference_pool(p, tensors(), in_pieces(2));
    if (std::count(expected_indices.begin(), expected_indices.end(), -1) == 0 &&
        !output.same(expected))
      fail(to_string(p) + ": gathering the maxima does not give the maxima");

    p.direction = PoolDirection::backward;
    output = gradient, input = blank_input;
    cpu::reference_pool(p, tensors(), in_pieces(1));
    gradients[offsets] = input;
    if (offsets && !gradients[1].same(gradients[0]))
      fail(to_string(p) + ": offsets and indices lead to other gradients");
    const size_t middle = expected_indices.size() / 2;
    if (middle > 2 && offsets) expected_offsets[1] = expected_offsets[middle] = 255;
    else if (middle > 2) expected_indices[1] = int64_t{1} << 40, expected_indices[middle] = -9;
    input = blank_input;
    cpu::reference_pool(p, tensors(), in_pieces(1));
    const Guarded expected_gradient = input;
    each_kernel([&](const cpu::PoolCpuKernel& kernel, cpu::Isa isa, const std::string& what) {
      input = blank_input;
      kernel.run(p, tensors(), isa, in_pieces(5));
      if (!input.same(expected_gradient)) fail(what + ": differs from the reference");
    });
  }
}

void check_avg_pool(AvgPoolProblem p, AvgPoolDirection direction) {
  std::mt19937 random(4);
  p.direction = direction;
  Guarded input(p.dtype, p.input_elements()), output(p.dtype, p.output_elements());
  const bool forward = direction == AvgPoolDirection::forward;
  Guarded &read = forward ? input : output, &written = forward ? output : input;
  read.fill(random, true);
  if (!forward) multiply_by_divisors(p, output.data());
  const Guarded blank = written, source = read;
  cpu::reference_avg_pool(p, {input.data(), output.data()}, in_pieces(1));
  const Guarded expected = written;
  for (const cpu::AvgPoolCpuKernel& kernel : cpu::avg_pool_cpu_kernel_table())
    for (const cpu::Isa isa : {cpu::Isa::scalar, cpu::Isa::avx2, cpu::Isa::avx512}) {
      ++checks;
      const std::string what = to_string(p) + " " + kernel.name + " " + to_string(isa);
      written = blank;
      kernel.run(p, {input.data(), output.data()}, isa, in_pieces(5));
      if (!written.same(expected)) fail(what + ": differs from the reference");
      if (!written.guards_intact()) fail(what + ": wrote outside");
      if (!read.same(source)) fail(what + ": changed its input");
    }
}

void check_window_pool(WindowPoolProblem p, WindowPoolDirection direction) {
  std::mt19937 random(5);
  auto integers = [&](int bound) { return static_cast<int>(random() % (2 * bound + 1)) - bound; };
  p.direction = WindowPoolDirection::forward;
  Guarded input(p.dtype, p.input_elements()), output(p.dtype, p.output_elements());
  Guarded samples(p.dtype, p.sample_elements());
  std::vector<int64_t> indices(p.output_elements());
  const auto tensors = [&] {
    return WindowPoolTensors{input.data(), output.data(), indices.data(), samples.data()};
  };
  input.fill(random, true);
  fill_samples(p, integers, samples.data());
  const bool forward = direction == WindowPoolDirection::forward;
  if (direction == WindowPoolDirection::unpool) fill_positions(p, integers, indices.data());
  else cpu::reference_window_pool(p, tensors(), in_pieces(1));
  if (!forward) output.fill(random, true);
  p.direction = direction;
  Guarded &read = forward ? input : output, &written = forward ? output : input;
  const Guarded blank(p.dtype, forward ? p.output_elements() : p.input_elements());
  const Guarded source = read;
  written = blank;
  cpu::reference_window_pool(p, tensors(), in_pieces(1));
  const Guarded expected = written;
  const std::vector<int64_t> expected_indices = indices;
  for (const cpu::WindowPoolCpuKernel& kernel : cpu::window_pool_cpu_kernel_table()) {
    ++checks;
    const std::string what = to_string(p) + " " + kernel.name;
    written = blank;
    if (forward) std::fill(indices.begin(), indices.end(), -7);
    kernel.run(p, tensors(), cpu::Isa::scalar, in_pieces(5));
    if (!written.same(expected)) fail(what + ": differs from the reference");
    if (indices != expected_indices) fail(what + ": indices differ");
    if (!written.guards_intact()) fail(what + ": wrote outside");
    if (!read.same(source)) fail(what + ": changed its input");
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> problems(argv + 1, argv + argc);
  if (problems.empty()) {
    problems = built_in;
    problems.insert(problems.end(), built_in_pools.begin(), built_in_pools.end());
    for (const char* name : {"conv.txt", "conv_bias_act.txt", "pool.txt", "avg_pool.txt",
                             "window_pool.txt", "regressions.txt"}) {
      std::ifstream file(std::string("tests/problems/") + name);
      for (std::string line; std::getline(file, line);)
        if (!line.empty() && line[0] != '#') problems.push_back(line);
    }
  }
  for (const std::string& text : problems) {
    NamedProblem named = parse_problem(text);
    for (const DType dtype : {DType::float32, DType::float64, DType::float16, DType::bfloat16})
      for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
        if (named.is_window_pool) {
          WindowPoolProblem& p = named.window_pool;
          p.dtype = dtype, p.layout = layout;
          if (p.direction == WindowPoolDirection::unpool) {
            check_window_pool(p, WindowPoolDirection::unpool);
            continue;
          }
          check_window_pool(p, WindowPoolDirection::forward);
          check_window_pool(p, WindowPoolDirection::backward);
          p.direction = WindowPoolDirection::forward;
          continue;
        }
        if (named.is_avg_pool) {
          named.avg_pool.dtype = dtype;
          named.avg_pool.layout = layout;
          check_avg_pool(named.avg_pool, AvgPoolDirection::forward);
          check_avg_pool(named.avg_pool, AvgPoolDirection::backward);
          continue;
        }
        if (named.is_pool) {
          named.pool.dtype = dtype;
          named.pool.layout = layout;
          check_pool(named.pool, false);
          check_pool(named.pool, true);
          continue;
        }
        if ((argc == 1 && named.conv.flops() > 4e6)) continue;
        named.conv.dtype = dtype;
        named.conv.layout = layout;
        for (const ConvDirection direction :
             {ConvDirection::fprop, ConvDirection::dgrad, ConvDirection::wgrad}) {
          if (named.conv.fused() && direction != ConvDirection::fprop) continue;
          named.conv.direction = direction;
          check_conv(named.conv, false);
          if (direction != ConvDirection::wgrad) check_conv(named.conv, true);
        }
        check_bias_grad(named.conv);
      }
  }
  std::printf("%d checks, %d failures\n", checks, failures);
  return failures > 0;
}
