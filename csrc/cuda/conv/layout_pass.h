// How a convolution that does not lie as the tensor cores want it comes to them: channels last, and
// each group's channels filled up with zeros to 16 bytes; several groups in one, if they are small
// (group_packing.h says when). Pure host code; the kernel that moves the tensors through the
// workspace is layout_pass.cu.
#pragma once

#include <optional>
#include <string>

#include "common/conv_problem.h"
#include "common/device_caps.h"

namespace cnnkern {

/// A tensor on its way: sets × images × groups × channels × pixels of it are the caller's, in his
/// layout; in the workspace they are channels last, with more channels, and perhaps more images.
/// (A weight has a filter for an image, and a group of filters for a set.) With more blocks than
/// one, a set is block-diagonal in the workspace: as many images make each block, and its channels
/// come after those of the block before; then all of them fit a tile.
struct LayoutMove {
  Layout layout;
  int64_t sets, images, padded_images, groups, channels, padded_channels, pixels;
  int64_t blocks = 1;
  int64_t offset = 0;  // in the workspace, bytes
  int64_t element_bytes = 0;

  int64_t elements() const { return sets * images * groups * channels * pixels; }
  int64_t padded_elements() const {
    return sets * padded_images * groups * padded_channels * pixels;
  }
};

struct LayoutPass {
  ConvProblem problem;  // what is left to compute
  int64_t packed = 1;   // groups of the caller's in one of those
  std::optional<LayoutMove> input{}, weight{}, output{}, bias{}, residual{}, preactivation{};
  int64_t workspace_bytes = 0;
  int64_t moved_bytes = 0;  // read and written

  bool any() const { return workspace_bytes > 0; }
  int kernels() const {
    return input.has_value() + weight.has_value() + output.has_value() + bias.has_value() +
           residual.has_value() + preactivation.has_value();
  }
};

/// The pass that tensor cores need; nothing moves where all lies as it should. `packed` groups,
/// which divide all, become one.
LayoutPass layout_pass(const ConvProblem& problem, int64_t packed = 1);

/// Empty, or why this pass is not made.
std::string refuse_layout_pass(const ConvProblem& problem, const LayoutPass& pass);

/// Cycles that the pass and then the products of the fastest tile are modelled to take.
double modelled_cycles(const LayoutPass& pass, const DeviceCaps& device);

/// Empty, or why a kernel that needs no pass is modelled to be faster: of 16-bit tensors the
/// generic one, by the bytes, of float32 the FP32 units.
std::string yield_layout_pass(const ConvProblem& problem, const LayoutPass& pass,
                              const DeviceCaps& device);

/// What moves, and how much that is.
std::string to_string(const LayoutPass& pass, const ConvProblem& problem);

/// A block moves so many pixels of so many channels at most, 128 bytes of them.
constexpr int layout_pixels = 64;
constexpr int layout_channels(int64_t element_bytes) {
  return static_cast<int>(128 / element_bytes);
}

/// Groups of fewer channels or filters are left to the generic kernel.
constexpr int64_t least_to_pack = 4;

}  // namespace cnnkern
