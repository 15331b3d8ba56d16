#include "cuda/conv/layout_pass.h"

#include <algorithm>
#include <cmath>

#include "common/ceil_div.h"
#include "common/sentence.h"
#include "cuda/conv/conv_plan_mma.h"

namespace cnnkern {
namespace {

// Round figures as in split_k.cpp: a second kernel's start, and what one multiprocessor moves.
constexpr double start_cycles = 3000, bytes_per_cycle = 16;
// Multiply-adds a cycle that a multiprocessor's FP32 units reach where single elements are
// gathered: 30 % of their rate on an H200, by ResNet-50's layers in N C H W
// (benchmarks/results/gpu_fp32.csv).
constexpr double single_element_rate = 38;

/// Nothing if the tensor already lies as it should.
std::optional<LayoutMove> move_of(LayoutMove move) {
  if (move.pixels == 1) move.layout = Layout::nhwc;
  if (move.layout == Layout::nchw || move.images != move.padded_images) return move;
  if (move.channels == move.padded_channels) return {};
  // In channels last all images of a block are pixels, and without blocks all sets too.
  move.pixels *= move.images / move.blocks;
  move.images = move.padded_images = move.blocks;
  if (move.blocks == 1) move.pixels *= move.sets, move.sets = 1;
  return move;
}

/// Additions that the generic kernel makes, each from two loads.
double direct_bytes(const ConvProblem& p) {
  return p.flops() / 2 * 2 * static_cast<double>(size_of(p.dtype));
}

}  // namespace

LayoutPass layout_pass(const ConvProblem& p, int64_t packed) {
  LayoutPass pass{.problem = p, .packed = packed};
  const int64_t size = size_of(p.dtype);
  if (p.dtype == DType::float64) return pass;
  ConvProblem& q = pass.problem;
  q.groups /= packed;
  const int64_t c = q.c_per_group(), k = q.k_per_group();
  const auto padded = [vector = 16 / size](int64_t channels) {
    return ceil_div(channels, vector) * vector;
  };
  // Forward in channels last any number of filters will do.
  const bool pads_k = p.direction != ConvDirection::fprop || p.layout == Layout::nchw;
  const int64_t padded_c = padded(c), padded_k = pads_k ? padded(k) : k;
  q.layout = Layout::nhwc, q.c = padded_c * q.groups, q.k = padded_k * q.groups;

  const auto place = [&](std::optional<LayoutMove>& slot, const LayoutMove& whole) {
    slot = move_of(whole);
    if (!slot) return;
    slot->offset = pass.workspace_bytes, slot->element_bytes = size;
    constexpr int64_t line = 256;
    pass.workspace_bytes +=
        ceil_div(std::max<int64_t>(slot->padded_elements(), 1) * size, line) * line;
    // Of a block-diagonal gradient only the blocks are read.
    const bool blocks = slot->blocks > 1 && p.direction == ConvDirection::wgrad;
    pass.moved_bytes +=
        (slot->elements() + (blocks ? slot->elements() : slot->padded_elements())) * size;
  };
  const LayoutMove output{p.layout, 1, p.n, p.n, q.groups, k, padded_k, p.output.volume()};
  place(pass.input, {p.layout, 1, p.n, p.n, q.groups, c, padded_c, p.input.volume()});
  place(pass.weight,
        {p.layout, q.groups, k, padded_k, 1, p.c_per_group(), padded_c, p.filter.volume(), packed});
  place(pass.output, output);
  if (p.residual) place(pass.residual, output);
  if (p.preactivation) place(pass.preactivation, output);
  if (p.direction == ConvDirection::fprop)
    place(pass.bias, {p.layout, 1, 1, 1, q.groups, k, padded_k, 1});
  if (p.direction == ConvDirection::dgrad)
    place(pass.bias, {p.layout, 1, 1, 1, q.groups, c, padded_c, 1});
  return pass;
}

std::string refuse_layout_pass(const ConvProblem& p, const LayoutPass& pass) {
  if (!pass.any()) return "";
  const int64_t c = p.c_per_group(), k = p.k_per_group();
  if (p.groups > 1 && std::min(c, k) < least_to_pack)
    return sentence("packs groups of at least ", least_to_pack, " channels and filters into one, ",
                    "but C/G = ", c, " and K/G = ", k, ": most products would be with zeros");
  constexpr int64_t max_blocks = (int64_t{1} << 31) - 1, max_channel_tiles = 65535;
  for (const auto& move : {pass.input, pass.weight, pass.output}) {
    if (!move) continue;
    const int64_t blocks = move->sets * move->padded_images * ceil_div(move->pixels, layout_pixels);
    const int64_t tiles = ceil_div(move->padded_channels, layout_channels(move->element_bytes));
    if (blocks > max_blocks || tiles > max_channel_tiles)
      return sentence("needs a layout pass of ", blocks, " x ", tiles,
                      " blocks, which exceed a grid of ", max_blocks, " x ", max_channel_tiles);
  }
  return "";
}

double modelled_cycles(const LayoutPass& pass, const DeviceCaps& device) {
  return fewest_mma_cycles(pass.problem, device) + pass.kernels() * start_cycles +
         static_cast<double>(pass.moved_bytes) / (bytes_per_cycle * device.multiprocessors);
}

std::string yield_layout_pass(const ConvProblem& p, const LayoutPass& pass,
                              const DeviceCaps& device) {
  if (!pass.any()) return "";
  if (p.dtype == DType::float32) {
    const double without = p.flops() / 2 / (single_element_rate * device.multiprocessors);
    const double with = modelled_cycles(pass, device);
    if (with < without) return "";
    return sentence("its layout pass and its products are modelled to take ", std::llround(with),
                    " cycles, on the FP32 units the products take ", std::llround(without));
  }
  if (static_cast<double>(pass.moved_bytes) <= direct_bytes(p)) return "";
  return sentence("its layout pass would move ", pass.moved_bytes, " bytes, direct loads ",
                  static_cast<int64_t>(direct_bytes(p)));
}

std::string to_string(const LayoutPass& pass, const ConvProblem& p) {
  std::string text;
  const auto name = [&](const std::optional<LayoutMove>& move, const char* tensor) {
    if (move) text += (text.empty() ? "" : ", ") + std::string(tensor);
  };
  name(pass.input, "input"), name(pass.weight, "weight"), name(pass.output, "output");
  name(pass.residual, "residual"), name(pass.preactivation, "preactivation");
  std::string cause = p.layout == Layout::nchw ? "NCHW" : "odd channels";
  if (pass.packed > 1) {
    const bool others = pass.input || pass.output;
    cause = sentence(others ? cause + ", " : "", pass.packed, " groups of ", p.c_per_group(),
                     " channels and ", p.k_per_group(), " filters packed into one");
  }
  const std::string moved =
      sentence(cause, ": one layout pass of ", pass.moved_bytes, " bytes over ", text);
  if (p.dtype == DType::float32) return moved;
  return sentence(moved, "; direct would load ", static_cast<int64_t>(direct_bytes(p)), " bytes");
}

}  // namespace cnnkern
