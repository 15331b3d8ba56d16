// Which convolution kernel runs, with which tile, on what grid, and why the others do not. Pure
// host code: no CUDA, no tensors, so plans for any GPU can be made and tested where there is none.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "common/conv_problem.h"
#include "common/device_caps.h"
#include "common/plan.h"
#include "cuda/conv/layout_pass.h"
#include "cuda/conv/tile.h"

namespace cnnkern {

struct ConvPlan {
  std::string kernel;  // "implicit_gemm_simt_128x128x8_vec4"
  int index = 0;       // row of conv_kernel_table()
  Tile tile;           // zeros if the kernel has none
  std::array<int64_t, 3> grid{0, 1, 1};
  int threads = 0;
  int64_t shared_bytes = 0;
  int split_k = 1;              // parts of the GEMM's depth, summed in order by a second kernel
  bool tf32 = false;            // whether the kernel rounds its operands to it
  LayoutPass pass;              // before and after the kernel; what it computes is pass.problem
  int64_t workspace_bytes = 0;  // the pass's, then that of the parts
  std::string symbol;  // substring of the kernel's demangled name in the compiler's records
  std::string why;
  std::vector<Refusal> refusals;
};

enum class ConvKernelFamily {
  simt,
  f64,
  winograd,
  winograd_4x4,
  mma,
  mma_3xtf32,
  first_layer,
  depthwise,
  ladder,
  direct
};

/// A row of conv_kernels.inc.
struct ConvKernelInfo {
  ConvKernelFamily family;
  std::string name;
  ConvDirection direction;
  DType dtype;
  bool any_layout;
  Layout layout;  // meaningful unless any_layout
  int vector;     // elements of one global load
  Tile tile;
  int threads;
  int64_t shared_bytes;
  std::string symbol;
  int rung = 0;  // of the ladder, if it is one

  bool rounds_to_tf32() const { return family == ConvKernelFamily::mma && dtype == DType::float32; }
};

/// `forced`, if not empty, names the only kernel to ask; this throws if that one cannot take the
/// problem, but not if another would merely be faster.
ConvPlan plan_conv(const ConvProblem& problem, const DeviceCaps& device,
                   const std::string& forced = "");

/// The kernels of the problem's direction, dtype and layout, the last resort apart.
std::vector<std::string> conv_kernels_for(const ConvProblem& problem, const DeviceCaps& device);

/// The plan of the kernel that takes every problem on every device, and tensors at any address.
ConvPlan plan_direct_conv(const ConvProblem& problem);

/// Every kernel, in the order of conv_kernels.inc; shared memory as on `arch`.
std::vector<ConvKernelInfo> conv_kernel_table(int arch = 80);

}  // namespace cnnkern
