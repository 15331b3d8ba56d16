#include "cpu/conv/conv_cpu.h"

#include <algorithm>
#include <cstring>

#include "cpu/conv/gather_conv.h"
#include "cpu/conv/winograd_cpu.h"
#include "cpu/reference.h"

namespace cnnkern::cpu {
namespace {

const ConvKernels& kernels_of(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::avx512) return avx512::conv_kernels;
  if (isa == Isa::avx2) return avx2::conv_kernels;
#endif
  (void)isa;
  return scalar::conv_kernels;
}

constexpr int64_t most_extent = int64_t{1} << 29;

// The gathers hold coordinates in 32 bits and run dgrad's parity classes one after another.
std::string refuse_gather(const ConvProblem& problem, const Isa&) {
  if (is_integer(problem.dtype))
    return std::string("it computes floating-point types, this problem is ") +
           to_string(problem.dtype);
  int64_t classes = 1;
  for (int axis = 0; axis < 3; ++axis) {
    const int64_t padded = problem.input[axis] + problem.pad_begin[axis] + problem.pad_end[axis];
    if (padded >= most_extent || problem.output[axis] >= most_extent)
      return "an axis with its padding has 2^29 elements or more";
    classes *= std::min(problem.stride[axis], problem.input[axis]);
  }
  if (problem.direction == ConvDirection::dgrad && classes > 1024)
    return "the strides make more than 1024 parity classes";
  return {};
}

std::string refuse_depthwise(const ConvProblem& problem, const Isa& isa) {
  if (problem.c_per_group() != 1 || problem.groups == 1)
    return "a filter reads more than its own channel";
  if (problem.layout == Layout::nhwc && problem.k != problem.groups)
    return "a channel has several filters, which only nchw takes";
  constexpr int64_t most_span = int64_t{1} << 20;  // of one channel, which nchw copies
  const int64_t span = problem.filter.d * problem.footprint(1) * problem.footprint(2);
  if (problem.layout == Layout::nchw && span > most_span)
    return "the taps of a filter lie in a box of " + std::to_string(span) + " elements, over " +
           std::to_string(most_span);
  return refuse_gather(problem, isa);
}

void run_depthwise(const ConvProblem& problem, const ConvTensors& tensors, Isa isa,
                   const ParallelFor& parallel) {
  const ConvKernels& kernels = kernels_of(isa);
  if (problem.direction == ConvDirection::wgrad) {
    std::vector<Tap> taps;
    return kernels.depthwise_wgrad(make_reduce(problem, tensors, taps), parallel);
  }
  kernels.depthwise(gather_classes(problem, tensors), parallel);
}

// Where filters have one tap and meet every pixel, the pixels of an image are one row.
ConvProblem as_one_row(ConvProblem problem) {
  bool pointwise = problem.input == problem.output && problem.input.volume() < most_extent;
  for (int axis = 0; axis < 3; ++axis)
    pointwise = pointwise && problem.filter[axis] == 1 && problem.stride[axis] == 1 &&
                problem.pad_begin[axis] == 0;
  if (pointwise) problem.input = problem.output = {1, 1, problem.input.volume()};
  return problem;
}

// Where packing pays, or the padded copies of direct.h would not fit a cache, implicit_gemm runs.
std::string refuse_direct(const ConvProblem& problem, const Isa& isa) {
  constexpr int64_t few_filters = 32, few_channels = 4, few_pointwise = 64, least_row = 512;
  constexpr int64_t most_of_short_row = 128, long_row = 2048;
  constexpr int64_t most_depth = 1024, most_elements = int64_t{64} << 10;
  const ConvProblem p = as_one_row(problem);
  const bool dgrad = p.direction == ConvDirection::dgrad;
  const bool wgrad = p.direction == ConvDirection::wgrad;
  const int64_t filters = dgrad ? p.c_per_group() : p.k_per_group();
  const int64_t channels = dgrad ? p.k_per_group() : p.c_per_group();
  const Extent3& grid = dgrad ? p.input : p.output;
  const bool by_one = p.stride == Extent3{1, 1, 1}, planes = p.layout == Layout::nchw;
  if (!planes && (p.direction != ConvDirection::fprop || channels > few_channels))
    return "where channels lie between the pixels, only a forward pass of up to " +
           std::to_string(few_channels) + " of them is better without packed patches";
  if (!by_one && p.direction != ConvDirection::fprop)
    return "a gradient's filters slide by one, not by the stride";
  const bool pointwise = by_one && p.filter.volume() == 1 && grid.w >= least_row;
  const int64_t fewest = pointwise ? few_pointwise : few_channels;
  if (pointwise && channels > most_of_short_row && grid.w < long_row)
    return std::to_string(channels) + " channels of one tap share packed patches better on " +
           std::to_string(grid.w) + " pixels, up to " + std::to_string(most_of_short_row) +
           " or on planes of " + std::to_string(long_row) + " they do not";
  if (!(filters <= few_filters && by_one) && (wgrad || channels > fewest))
    return std::to_string(filters) + " filters of " + std::to_string(channels) +
           " channels share packed patches better, up to " + std::to_string(few_filters) +
           " that slide by one do not" +
           (wgrad ? "" : ", nor do up to " + std::to_string(fewest) + " channels");
  if (channels * p.filter.volume() > most_depth)
    return "a filter has more than " + std::to_string(most_depth) + " elements";
  int64_t beyond[3], copied = channels * (wgrad ? 1 : p.filter.d);
  for (int axis = 0; axis < 3; ++axis) {
    beyond[axis] = (p.footprint(axis) - 1) / p.stride[axis];
    const int64_t block = axis == 1 ? 4 : 256;  // a copy's least, but that wgrad copies all
    if (wgrad || axis > 0)
      copied *=
          p.stride[axis] * (beyond[axis] + (wgrad ? grid[axis] : std::min(grid[axis], block)));
  }
  if (copied > most_elements)
    return "what it copies has more than " + std::to_string(most_elements) + " elements";
  if (planes && 3 * grid.h * grid.w < 2 * ((grid.h - 1) * (grid.w + beyond[2]) + grid.w))
    return "more than a third of what it would compute lies between the pixels";
  return refuse_gather(p, isa);
}

void run_direct(const ConvProblem& original, const ConvTensors& tensors, Isa isa,
                const ParallelFor& parallel) {
  const ConvProblem problem = as_one_row(original);
  const ConvKernels& kernels = kernels_of(isa);
  if (problem.direction == ConvDirection::wgrad) {
    std::vector<Tap> taps;
    return kernels.direct_wgrad(make_reduce(problem, tensors, taps), parallel);
  }
  for_each_gather(problem, tensors,
                  [&](const GatherConv& conv) { kernels.direct(conv, parallel); });
}

// A dense filter as large as the input is a fully connected layer: a 1×1 convolution whose channels
// are all elements of an image. Filters and images hold them in the same order, and with one pixel
// both layouts are one; dgrad's bias, one a channel, would not fit.
ConvProblem flattened(ConvProblem problem, const ConvTensors& tensors) {
  bool covers = problem.output.volume() == 1;
  for (int axis = 0; axis < 3; ++axis)
    covers = covers && problem.filter[axis] == problem.input[axis] &&
             problem.footprint(axis) == problem.input[axis] && problem.pad_begin[axis] == 0;
  if (!covers || problem.groups > 1 || (tensors.bias && problem.direction == ConvDirection::dgrad))
    return problem;
  problem.c *= problem.input.volume();
  problem.input = problem.filter = problem.stride = problem.dilation = {1, 1, 1};
  problem.layout = Layout::nhwc;
  return problem;
}

void clear(void* data, int64_t bytes, const ParallelFor& parallel) {
  constexpr int64_t piece = int64_t{1} << 20;
  parallel((bytes + piece - 1) / piece, [&](int64_t begin, int64_t end) {
    std::memset(static_cast<char*>(data) + begin * piece, 0,
                std::min(end * piece, bytes) - begin * piece);
  });
}

// Of a dgrad, parity classes that no tap meets are zero: they are cleared together, as runs of
// memory, where one by one they would be scattered.
void run_implicit_gemm(const ConvProblem& original, const ConvTensors& tensors, Isa isa,
                       const ParallelFor& parallel) {
  const ConvProblem problem = flattened(as_one_row(original), tensors);
  const ConvKernels& kernels = kernels_of(isa);
  if (problem.direction == ConvDirection::wgrad) {
    std::vector<Tap> taps;
    return kernels.reduce_gemm(make_reduce(problem, tensors, taps), parallel);
  }
  const GatherClasses all = gather_classes(problem, tensors);
  const auto is_zero = [](const GatherConv& conv) {
    return conv.gather.tap_count == 0 && !conv.bias;
  };
  if (std::any_of(all.parts.begin(), all.parts.end(), is_zero))
    clear(tensors.input, problem.input_elements() * size_of(problem.dtype), parallel);
  for (const GatherConv& conv : all.parts)
    if (!is_zero(conv)) kernels.gather_gemm(conv, parallel);
}

int64_t pack_implicit_gemm(const ConvProblem& original, const ConvTensors& tensors, void* to,
                           Isa isa, const ParallelFor& parallel) {
  int64_t bytes = 0;
  for_each_gather(flattened(original, tensors), tensors, [&](const GatherConv& conv) {
    bytes = kernels_of(isa).gather_gemm_pack(conv, to, parallel);
  });
  return bytes;
}

// What a packed weight begins with: all that its order depends on.
struct PackedHeader {
  int64_t bytes;  // of all, this header included
  int64_t kernel, isa, dtype, layout, groups, c, k;
  Extent3 filter;
  int64_t flat, to_whole_lines[4] = {};

  PackedHeader(const ConvCpuPlan& plan, const ConvProblem& p, int64_t size)
      : bytes(size),
        kernel(plan.index),
        isa(static_cast<int64_t>(plan.isa)),
        dtype(static_cast<int64_t>(p.dtype)),
        layout(static_cast<int64_t>(p.layout)),
        groups(p.groups),
        c(p.c),
        k(p.k),
        filter(p.filter),
        flat(!(flattened(p, {}) == p)) {}
  bool operator==(const PackedHeader&) const = default;
};

std::string refuse_nothing(const ConvProblem&, const Isa&) { return {}; }

void run_reference(const ConvProblem& problem, const ConvTensors& tensors, Isa,
                   const ParallelFor& parallel) {
  reference_conv(problem, tensors, parallel);
}

// The bias gradient of nchw: a channel is a run of numbers in each image, summed as eight chains so
// that additions overlap.
template <class T>
void sum_planes(const ConvProblem& p, const ConvTensors& tensors, T* grad_bias,
                const ParallelFor& parallel) {
  const int64_t volume = p.output.volume();
  parallel(p.k, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      accumulator_t<T> sums[8] = {};
      for (int64_t n = 0; n < p.n; ++n) {
        const T* const plane = static_cast<const T*>(tensors.output) + (n * p.k + k) * volume;
        int64_t i = 0;
        for (; i + 8 <= volume; i += 8)
          for (int j = 0; j < 8; ++j) sums[j] += static_cast<accumulator_t<T>>(plane[i + j]);
        for (; i < volume; ++i) sums[i % 8] += static_cast<accumulator_t<T>>(plane[i]);
      }
      for (int j = 1; j < 8; ++j) sums[0] += sums[j];
      grad_bias[k] = static_cast<T>(sums[0]);
    }
  });
}

// The same of nhwc: a block of channels is summed pixel by pixel.
template <class T>
void sum_pixels(const ConvProblem& p, const ConvTensors& tensors, T* grad_bias,
                const ParallelFor& parallel) {
  constexpr int64_t block = 64;
  parallel((p.k + block - 1) / block, [&](int64_t begin, int64_t end) {
    for (int64_t first = begin * block; first < std::min(end * block, p.k); first += block) {
      const int64_t channels = std::min(block, p.k - first);
      accumulator_t<T> sums[block] = {};
      const T* pixel = static_cast<const T*>(tensors.output) + first;
      for (int64_t i = 0; i < p.n * p.output.volume(); ++i, pixel += p.k)
        for (int64_t c = 0; c < channels; ++c) sums[c] += static_cast<accumulator_t<T>>(pixel[c]);
      for (int64_t c = 0; c < channels; ++c) grad_bias[first + c] = static_cast<T>(sums[c]);
    }
  });
}

}  // namespace

const std::vector<ConvCpuKernel>& conv_cpu_kernel_table() {
  static const std::vector<ConvCpuKernel> table = {
      {"depthwise", "every channel filtered by itself, a vector of outputs at a time",
       refuse_depthwise, run_depthwise},
      {"winograd", "4 x 4 outputs from 36 products a channel instead of 144", refuse_winograd,
       run_winograd, pack_winograd},
      {"direct", "filters slide over a padded copy of an image, nothing is packed", refuse_direct,
       run_direct},
      {"implicit_gemm", "packed panels of patches times packed weights", refuse_gather,
       run_implicit_gemm, pack_implicit_gemm},
      {"reference", "plain loops, one output element at a time", refuse_nothing, run_reference},
  };
  return table;
}

ConvCpuPlan plan_conv_cpu(const ConvProblem& problem, Isa isa, const std::string& forced,
                          bool explain) {
  const std::vector<ConvCpuKernel>& table = conv_cpu_kernel_table();
  ConvCpuPlan plan;
  plan.isa = isa;
  plan.index = static_cast<int>(
      choose(std::span(table), problem, isa, forced, explain ? &plan.refusals : nullptr));
  plan.kernel = table[plan.index].name;
  if (explain) plan.why = table[plan.index].idea;
  return plan;
}

void run_conv_cpu(const ConvCpuPlan& plan, const ConvProblem& problem, const ConvTensors& tensors,
                  const ParallelFor& parallel) {
  const ConvCpuKernel& kernel = conv_cpu_kernel_table()[plan.index];
  if (!tensors.packed) return kernel.run(problem, tensors, plan.isa, parallel);
  ConvTensors given = tensors;
  const auto* header = static_cast<const PackedHeader*>(tensors.packed);
  const bool suits = *header == PackedHeader(plan, problem, header->bytes);
  given.packed = suits ? header + 1 : nullptr;
  kernel.run(problem, given, plan.isa, parallel);
}

int64_t pack_weight_cpu(const ConvCpuPlan& plan, const ConvProblem& problem, const void* weight,
                        void* to, const ParallelFor& parallel) {
  const ConvCpuKernel& kernel = conv_cpu_kernel_table()[plan.index];
  if (!kernel.pack || problem.direction != ConvDirection::fprop) return 0;
  ConvTensors tensors;
  tensors.weight = const_cast<void*>(weight);
  PackedHeader* const header = static_cast<PackedHeader*>(to);
  const int64_t packed =
      kernel.pack(problem, tensors, header ? header + 1 : nullptr, plan.isa, parallel);
  const int64_t bytes = packed == 0 ? 0 : packed + static_cast<int64_t>(sizeof(PackedHeader));
  if (header) *header = PackedHeader(plan, problem, bytes);
  return bytes;
}

void run_bias_grad_cpu(const ConvProblem& problem, const ConvTensors& tensors, void* grad_bias,
                       const ParallelFor& parallel) {
  dispatch_all(problem.dtype, [&]<class T>(T) {
    if (problem.layout == Layout::nchw)
      sum_planes<T>(problem, tensors, static_cast<T*>(grad_bias), parallel);
    else sum_pixels<T>(problem, tensors, static_cast<T*>(grad_bias), parallel);
  });
}

}  // namespace cnnkern::cpu
