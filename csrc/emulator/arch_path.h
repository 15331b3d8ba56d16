// The kernels of one architecture path as functions; arch_path.cu is compiled once for each path.
#pragma once

#include "common/device_caps.h"
#include "cuda/conv/conv_plan.h"
#include "cuda/pool/avg_pool_plan.h"
#include "cuda/pool/max_pool_plan.h"
#include "cuda/pool/unfold_plan.h"
#include "cuda/pool/window_pool_plan.h"

namespace cnnkern {

struct ArchPath {
  const DeviceCaps* device;
  void (*launch_conv)(const ConvPlan&, const ConvProblem&, const ConvTensors&);
  void (*launch_bias_grad)(const ConvProblem&, const ConvTensors&);
  void (*launch_pool)(const PoolPlan&, const PoolProblem&, const PoolTensors&);
  void (*launch_avg_pool)(const PoolPlan&, const AvgPoolProblem&, const AvgPoolTensors&);
  void (*launch_unfold)(const PoolPlan&, const UnfoldProblem&, const UnfoldTensors&);
  void (*launch_window_pool)(const PoolPlan&, const WindowPoolProblem&, const WindowPoolTensors&);
};

namespace emulated_sm75 {
ArchPath arch_path();
}
namespace emulated_sm80 {
ArchPath arch_path();
}

}  // namespace cnnkern
