// One struct describes every convolution: 1-d, 2-d and 3-d, forward and both gradients.
//
//   output[n,k,z,p,q] = bias[k] + Σ_{c,t,r,s} weight[k,c,t,r,s] ·
//                       input[n, g·C/G + c, z·stride.d + t·dilation.d − pad_begin.d, …h, …w]
//
// A forward convolution may be fused with what follows it in a network: with a residual of the
// output's shape, output = activation(… + residual).
//
// Names are the field's: N images, C input channels, D×H×W input, K filters of T×R×S,
// Z×P×Q output. A 2-d problem has D = T = Z = 1; a 1-d problem also H = R = P = 1.
#pragma once

#include <cstdint>
#include <string>

#include "common/activation.h"
#include "common/dtype.h"

namespace cnnkern {

/// What is computed from what (GEMM view M × N × K, per group):
///   fprop: output from input and weight    (N·Z·P·Q) × (K/G)       × (C/G·T·R·S)
///   dgrad: input  from output and weight   (N·D·H·W) × (C/G)       × (K/G·T·R·S)
///   wgrad: weight from output and input    (K/G)     × (C/G·T·R·S) × (N·Z·P·Q)
enum class ConvDirection { fprop, dgrad, wgrad };

/// Order of every tensor of the problem: contiguous (N C D H W, weight K C T R S) or
/// channels last (N D H W C, weight K T R S C).
enum class Layout { nchw, nhwc };

const char* to_string(ConvDirection direction);
const char* to_string(Layout layout);

struct Extent3 {
  int64_t d = 1, h = 1, w = 1;

  int64_t& operator[](int axis) { return axis == 0 ? d : axis == 1 ? h : w; }
  int64_t operator[](int axis) const { return axis == 0 ? d : axis == 1 ? h : w; }
  int64_t volume() const { return d * h * w; }
  bool operator==(const Extent3&) const = default;
};

struct ConvProblem {
  ConvDirection direction = ConvDirection::fprop;
  DType dtype = DType::float32;
  Layout layout = Layout::nchw;
  int spatial_dims = 2;

  int64_t n = 1, c = 1, k = 1, groups = 1;
  Extent3 input;   // D, H, W
  Extent3 filter;  // T, R, S
  Extent3 output;  // Z, P, Q; see set_output()
  Extent3 stride, dilation;
  Extent3 pad_begin{0, 0, 0}, pad_end{0, 0, 0};

  // fprop only; which of the two tensors there are is also written in ConvTensors.
  Activation activation = Activation::none;
  bool residual = false, preactivation = false;

  // float32 on CUDA: whether operands may be rounded to tf32 before they are multiplied.
  bool tf32 = false;
  // Likewise: whether all tensors lie on 16 bytes. Others are read element by element, which is for
  // the FP32 units.
  bool aligned = true;

  int64_t c_per_group() const { return c / groups; }
  int64_t k_per_group() const { return k / groups; }
  int64_t input_elements() const { return n * c * input.volume(); }
  int64_t weight_elements() const { return k * c_per_group() * filter.volume(); }
  int64_t output_elements() const { return n * k * output.volume(); }

  /// Multiply-adds count twice; taps that fall on padding are counted, as everybody does.
  double flops() const {
    return 2.0 * static_cast<double>(output_elements()) * static_cast<double>(c_per_group()) *
           static_cast<double>(filter.volume());
  }

  /// Whether there is one plane, without padding: a 2-d or 1-d convolution, or a 3-d one like it.
  bool planar() const { return input.d == 1 && filter.d == 1 && output.d == 1 && pad_begin.d == 0; }

  /// Whether windows follow each other from pixel to pixel.
  bool unit_stride() const { return stride == Extent3{}; }

  /// Whether each output pixel is made of the input pixel at the same place, a matrix product.
  bool pointwise() const { return filter.volume() == 1 && unit_stride() && output == input; }

  /// Elements of the filter's footprint along an axis: (taps − 1)·dilation + 1.
  int64_t footprint(int axis) const { return (filter[axis] - 1) * dilation[axis] + 1; }

  /// Throws when stride, padding, dilation or groups is out of its range.
  void check_arguments() const;

  /// Sets Z, P, Q by O = (I + pads − footprint)/stride + 1; throws when an output would be empty
  /// or a parameter is out of its range. The message contains PyTorch's phrase for the case.
  void set_output();

  /// Throws unless every tensor has fewer than 2^62 elements and the groups divide C and K.
  void validate() const;

  /// Whether fprop does more than convolve.
  bool fused() const { return activation != Activation::none || residual || preactivation; }

  bool operator==(const ConvProblem&) const = default;
};

/// The four tensors of a problem, dense, in its layout; the direction says which one is written.
/// bias may be null: K elements added in fprop, C elements added in dgrad (a transposed
/// convolution's bias), unused in wgrad. workspace has the size that the plan asks for. residual
/// and preactivation, each null or of the output's shape, are fprop's: added to the sum before the
/// activation, and where the sum goes that the activation is taken of. packed, null or what
/// pack_weight_cpu() made of the weight, is the CPU's fprop's.
struct ConvTensors {
  void* input = nullptr;
  void* weight = nullptr;
  void* output = nullptr;
  const void* bias = nullptr;
  void* workspace = nullptr;
  const void* residual = nullptr;
  void* preactivation = nullptr;
  const void* packed = nullptr;
};

}  // namespace cnnkern
