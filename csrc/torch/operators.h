// The operators, once for every backend.
//
// A backend is a type with four static functions; `like` tells the device:
//   void conv(const ConvProblem&, const ConvTensors&, const Tensor& like);
//   void bias_grad(const ConvProblem&, const void* grad_output, void* grad_bias, const Tensor&
//   like); void pool(const PoolProblem&, const PoolTensors&, const Tensor& like);
//   void avg_pool(const AvgPoolProblem&, const AvgPoolTensors&, const Tensor& like);
//   void unfold(const UnfoldProblem&, const UnfoldTensors&, const Tensor& like);
//   void window_pool(const WindowPoolProblem&, const WindowPoolTensors&, const Tensor& like);
#pragma once

#include "torch/avg_pool_operators.h"
#include "torch/conv_bias_act_operators.h"
#include "torch/conv_operators.h"
#include "torch/max_pool_operators.h"
#include "torch/unfold_operators.h"
#include "torch/window_pool_operators.h"

namespace cnnkern {

template <class Backend>
void register_operators(torch::stable::detail::StableLibrary& m) {
  register_conv_operators<Backend>(m);
  register_conv_bias_act_operators<Backend>(m);
  register_max_pool_operators<Backend>(m);
  register_avg_pool_operators<Backend>(m);
  register_unfold_operators<Backend>(m);
  register_window_pool_operators<Backend>(m);
}

}  // namespace cnnkern
