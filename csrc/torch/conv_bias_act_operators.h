// The fused convolution: tensor -> problem -> backend -> tensor.
#pragma once

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "torch/conv_args.h"

namespace cnnkern {

inline Activation activation_argument(const std::optional<std::string>& name) {
  if (!name) return Activation::none;
  if (const auto found = activation_named(*name)) return *found;
  fail("conv_bias_act: activation is '" + *name +
       "', but relu, relu6, tanh, sigmoid, gelu, silu, hardswish or None is expected");
}

inline void check_residual(const ConvProblem& problem, const Tensor& input,
                           const Tensor& residual) {
  check_same(input, "input", residual, "residual", "conv_bias_act");
  const IntList wanted = tensor_sizes(problem.n, problem.k, problem.output, problem.spatial_dims);
  bool same = residual.dim() == static_cast<int64_t>(wanted.size());
  std::string text;
  for (size_t i = 0; i < wanted.size(); ++i) {
    same = same && residual.size(static_cast<int64_t>(i)) == wanted[i];
    text += (i == 0 ? "[" : ", ") + std::to_string(wanted[i]);
  }
  if (!same)
    fail("conv_bias_act: expected residual of the output's size " + text + "], but got " +
         sizes_text(residual));
}

/// Null if conv_pack_weight left the weight as it was.
inline const void* packed_pointer(const std::optional<Tensor>& given) {
  if (!given || given->numel() == 0) return nullptr;
  const Tensor& packed = *given;
  constexpr int64_t header = 16;
  if (!packed.is_cpu() || packed.scalar_type() != torch::headeronly::ScalarType::Long ||
      packed.dim() != 1 || !packed.is_contiguous() || packed.numel() < header ||
      static_cast<const int64_t*>(read_pointer(packed))[0] != packed.numel() * 8)
    fail("conv_bias_act: expected packed to be what conv_pack_weight made of the weight, but got " +
         std::string("another tensor, of size ") + sizes_text(packed) + "; pass None");
  return read_pointer(packed);
}

template <class Backend>
std::tuple<Tensor, Tensor> conv_bias_act(
    const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
    const std::optional<Tensor>& residual, const IntList& stride, const IntList& padding,
    const IntList& dilation, int64_t groups, const std::optional<std::string>& activation,
    bool keep_preactivation, const std::optional<Tensor>& packed) {
  ConvProblem problem = forward_problem(input, weight, bias, {stride, padding, dilation, groups});
  problem.activation = activation_argument(activation);
  problem.residual = residual.has_value();
  problem.preactivation = keep_preactivation;
  if (residual) check_residual(problem, input, *residual);
  const void* const packed_weight = packed_pointer(packed);
  const Tensor x = in_layout(input, problem.layout), w = in_layout(weight, problem.layout);
  // Where one is missing the input stands in; its pointer is not passed on.
  const Tensor b = bias ? torch::stable::contiguous(*bias) : input;
  const Tensor r = residual ? in_layout(*residual, problem.layout) : input;
  const IntList sizes = tensor_sizes(problem.n, problem.k, problem.output, problem.spatial_dims);
  Tensor y = allocate(sizes, input, problem.layout);
  Tensor kept = keep_preactivation ? allocate(sizes, input, problem.layout)
                                   : allocate({0}, input, Layout::nchw);
  if (problem.output_elements() > 0)
    Backend::conv(problem,
                  {.input = read_pointer(x),
                   .weight = read_pointer(w),
                   .output = y.mutable_data_ptr(),
                   .bias = bias ? read_pointer(b) : nullptr,
                   .residual = residual ? read_pointer(r) : nullptr,
                   .preactivation = keep_preactivation ? kept.mutable_data_ptr() : nullptr,
                   .packed = packed_weight},
                  input);
  return {y, kept};
}

template <class Backend>
void register_conv_bias_act_operators(torch::stable::detail::StableLibrary& m) {
  m.impl("conv_bias_act", TORCH_BOX(&conv_bias_act<Backend>));
}

}  // namespace cnnkern
