#include "cuda/conv/layout_pass.h"

#include <algorithm>

#include "common/ceil_div.h"
#include "common/sentence.h"

namespace cnnkern {
namespace {

constexpr int64_t vector = 8;

int64_t padded(int64_t channels) { return ceil_div(channels, vector) * vector; }

/// Nothing if the tensor already lies as it should.
std::optional<LayoutMove> move_of(LayoutMove move) {
  if (move.pixels == 1) move.layout = Layout::nhwc;
  const bool same_images = move.images == move.padded_images;
  if (move.layout == Layout::nhwc) {
    if (same_images && move.channels == move.padded_channels) return {};
    if (same_images) move.pixels *= move.sets * move.images, move.sets = move.images = 1;
    move.padded_images = same_images ? 1 : move.padded_images;
  }
  return move;
}

/// Additions that the generic kernel makes, each from two loads.
double direct_bytes(const ConvProblem& p) {
  return p.flops() / 2 * 2 * static_cast<double>(size_of(p.dtype));
}

}  // namespace

LayoutPass layout_pass(const ConvProblem& p) {
  LayoutPass pass{.problem = p};
  if (size_of(p.dtype) != 2) return pass;
  const int64_t c = p.c_per_group(), k = p.k_per_group(), size = size_of(p.dtype);
  // Forward in channels last any number of filters will do.
  const bool pads_k = p.direction != ConvDirection::fprop || p.layout == Layout::nchw;
  const int64_t padded_c = padded(c), padded_k = pads_k ? padded(k) : k;
  ConvProblem& q = pass.problem;
  q.layout = Layout::nhwc, q.c = padded_c * p.groups, q.k = padded_k * p.groups;

  const auto place = [&](std::optional<LayoutMove>& slot, const LayoutMove& whole) {
    slot = move_of(whole);
    if (!slot) return;
    slot->offset = pass.workspace_bytes;
    constexpr int64_t line = 256;
    pass.workspace_bytes +=
        ceil_div(std::max<int64_t>(slot->padded_elements(), 1) * size, line) * line;
    pass.moved_bytes += (slot->elements() + slot->padded_elements()) * size;
  };
  const LayoutMove output{p.layout, 1, p.n, p.n, p.groups, k, padded_k, p.output.volume()};
  place(pass.input, {p.layout, 1, p.n, p.n, p.groups, c, padded_c, p.input.volume()});
  place(pass.weight, {p.layout, p.groups, k, padded_k, 1, c, padded_c, p.filter.volume()});
  place(pass.output, output);
  if (p.residual) place(pass.residual, output);
  if (p.preactivation) place(pass.preactivation, output);
  if (p.direction == ConvDirection::fprop)
    place(pass.bias, {p.layout, 1, 1, 1, p.groups, k, padded_k, 1});
  if (p.direction == ConvDirection::dgrad)
    place(pass.bias, {p.layout, 1, 1, 1, p.groups, c, padded_c, 1});
  return pass;
}

std::string refuse_layout_pass(const ConvProblem& p, const LayoutPass& pass) {
  if (!pass.any()) return "";
  constexpr int64_t least = 4;
  const int64_t c = p.c_per_group(), k = p.k_per_group();
  if (p.groups > 1 && std::min(c, k) < least)
    return sentence("fills a group's channels up to ", vector, ", which C/G = ", c,
                    " and K/G = ", k, " would mostly leave empty");
  constexpr int64_t max_blocks = (int64_t{1} << 31) - 1, max_channel_tiles = 65535;
  for (const auto& move : {pass.input, pass.weight, pass.output}) {
    if (!move) continue;
    const int64_t blocks = move->sets * move->padded_images * ceil_div(move->pixels, layout_tile);
    const int64_t tiles = ceil_div(move->padded_channels, layout_tile);
    if (blocks > max_blocks || tiles > max_channel_tiles)
      return sentence("needs a layout pass of ", blocks, " x ", tiles,
                      " blocks, which exceed a grid of ", max_blocks, " x ", max_channel_tiles);
  }
  return "";
}

std::string yield_layout_pass(const ConvProblem& p, const LayoutPass& pass) {
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
  return sentence(p.layout == Layout::nchw ? "NCHW" : "odd channels", ": one layout pass of ",
                  pass.moved_bytes, " bytes over ", text, "; direct would load ",
                  static_cast<int64_t>(direct_bytes(p)), " bytes");
}

}  // namespace cnnkern
