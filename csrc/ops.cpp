// Every operator's schema, and nothing else. The emulator's library compiles this file again with
// its own namespace, so its operators have the same signatures.
//
// Lists hold one entry per spatial dimension; padding holds two: begin and end of each axis,
// outermost axis first. Tensors are batched: (N, C, *spatial).
#include <torch/csrc/stable/library.h>

#ifndef CNNKERN_OP_NAMESPACE
#define CNNKERN_OP_NAMESPACE cnnkern
#endif

#define CNNKERN_DEFINE_OPS(ns) STABLE_TORCH_LIBRARY(ns, m)

CNNKERN_DEFINE_OPS(CNNKERN_OP_NAMESPACE) {
  m.def(
      "conv_forward(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, SymInt[] padding, "
      "SymInt[] dilation, SymInt groups) -> Tensor");
  // The input's gradient, and with roles exchanged the transposed convolution; bias is the
  // latter's.
  m.def(
      "conv_input_grad(Tensor grad_output, Tensor weight, Tensor? bias, SymInt[] input_size, "
      "SymInt[] stride, SymInt[] padding, SymInt[] dilation, SymInt groups) -> Tensor");
  m.def(
      "conv_weight_grad(Tensor grad_output, Tensor input, SymInt[] kernel_size, SymInt[] stride, "
      "SymInt[] padding, SymInt[] dilation, SymInt groups) -> Tensor");
  m.def("conv_bias_grad(Tensor grad_output) -> Tensor");
  // activation(conv + bias + residual) in one kernel. The second tensor is what the activation was
  // taken of, or empty unless asked for; gelu's, silu's and hardswish's derivatives need it. packed
  // is what conv_pack_weight made of the weight; it saves time, the result is the same.
  m.def(
      "conv_bias_act(Tensor input, Tensor weight, Tensor? bias, Tensor? residual, SymInt[] stride, "
      "SymInt[] padding, SymInt[] dilation, SymInt groups, str? activation, bool "
      "keep_preactivation, Tensor? packed) -> (Tensor, Tensor)");
  // The weight as the CPU's kernel for inputs like this one reads it, with a header; empty where it
  // reads weights as they are. Any conv_bias_act of the same weight takes it.
  m.def(
      "conv_pack_weight(Tensor input, Tensor weight, SymInt[] stride, SymInt[] padding, "
      "SymInt[] dilation, SymInt groups) -> Tensor");
  // Indices are int64 flat positions in the input's plane, as torch.nn.MaxPool2d returns them.
  m.def(
      "max_pool_forward(Tensor input, SymInt[] kernel_size, SymInt[] stride, SymInt[] padding, "
      "SymInt[] dilation, bool ceil_mode) -> (Tensor, Tensor)");
  // The same for the backward pass alone: one byte a window, the number of the maximum's tap in it,
  // row-major (255: no tap is inside). The window has at most 255 taps.
  m.def(
      "max_pool_offsets(Tensor input, SymInt[] kernel_size, SymInt[] stride, SymInt[] padding, "
      "SymInt[] dilation, bool ceil_mode) -> (Tensor, Tensor)");
  // The maxima alone, where nobody asks for a derivative: an eighth of the bytes for float16.
  m.def(
      "max_pool_values(Tensor input, SymInt[] kernel_size, SymInt[] stride, SymInt[] padding, "
      "SymInt[] dilation, bool ceil_mode) -> Tensor");
  m.def(
      "max_pool_backward(Tensor grad_output, Tensor indices, SymInt[] input_size, "
      "SymInt[] kernel_size, SymInt[] stride, SymInt[] padding, SymInt[] dilation, bool ceil_mode) "
      "-> Tensor");
  // The backward's derivative. Of both, int64 indices are positions and uint8 ones offsets, whose
  // windows the parameters say.
  m.def(
      "max_pool_gather(Tensor input, Tensor indices, SymInt[] kernel_size, SymInt[] stride, "
      "SymInt[] padding, SymInt[] dilation, bool ceil_mode) -> Tensor");
  // Average pooling is linear: forward and backward are each other's derivatives.
  m.def(
      "avg_pool_forward(Tensor input, SymInt[] kernel_size, SymInt[] stride, SymInt[] padding, "
      "SymInt[] dilation, bool ceil_mode, bool count_include_pad, int? divisor_override) "
      "-> Tensor");
  m.def(
      "avg_pool_backward(Tensor grad_output, SymInt[] input_size, SymInt[] kernel_size, "
      "SymInt[] stride, SymInt[] padding, SymInt[] dilation, bool ceil_mode, "
      "bool count_include_pad, int? divisor_override) -> Tensor");
  m.def("adaptive_avg_pool_forward(Tensor input, SymInt[] output_size) -> Tensor");
  m.def("adaptive_avg_pool_backward(Tensor grad_output, SymInt[] input_size) -> Tensor");
  // Each other's derivatives. Two spatial dimensions; columns are (N, C·R·S, P·Q).
  m.def(
      "unfold(Tensor input, SymInt[] kernel_size, SymInt[] stride, SymInt[] padding, "
      "SymInt[] dilation) -> Tensor");
  m.def(
      "fold(Tensor input, SymInt[] output_size, SymInt[] kernel_size, SymInt[] stride, "
      "SymInt[] padding, SymInt[] dilation) -> Tensor");
  // Max pooling whose windows are adaptive, or with samples (N, C, one per axis) fractional; only
  // those have a kernel_size. gather is the backward's derivative.
  m.def(
      "window_max_pool_forward(Tensor input, Tensor? samples, SymInt[] kernel_size, "
      "SymInt[] output_size) -> (Tensor, Tensor)");
  m.def(
      "window_max_pool_backward(Tensor grad_output, Tensor indices, Tensor? samples, "
      "SymInt[] input_size, SymInt[] kernel_size) -> Tensor");
  m.def(
      "window_max_pool_gather(Tensor input, Tensor indices, Tensor? samples, "
      "SymInt[] kernel_size) -> Tensor");
  // Each is the other's derivative, as long as no two indices of a plane are equal.
  m.def("max_unpool_forward(Tensor input, Tensor indices, SymInt[] output_size) -> Tensor");
  m.def("max_unpool_backward(Tensor grad_output, Tensor indices) -> Tensor");
}
