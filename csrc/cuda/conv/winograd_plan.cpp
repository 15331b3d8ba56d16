#include "cuda/conv/winograd_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/ceil_div.h"
#include "common/sentence.h"
#include "common/winograd_allowed.h"
#include "cuda/conv/conv_plan_mma.h"

namespace cnnkern {
namespace {

// Round figures of the GPUs in device_caps.h, of one multiprocessor: what L2 gives it and takes
// from it, a block's way to its first product, and the start of a second kernel.
constexpr double load_bytes_per_cycle = 32, store_bytes_per_cycle = 16;
constexpr double start_cycles = 1000, second_kernel_cycles = 3000;
constexpr double exposed = 0.25;  // of the shorter of two that should hide each other

/// What fills the fused kernel's blocks and steps.
struct View : WinogradView {
  using WinogradView::WinogradView;
  int64_t patches(int64_t images) const { return WinogradView::patches(images, 2); }
  int64_t steps() const { return ceil_div(in_channels, winograd_tile.k); }
  int64_t panels() const { return ceil_div(out_channels, winograd_tile.m); }
};

int64_t winograd_blocks(const ConvProblem& p) {
  const View view(p);
  return ceil_div(view.patches(p.n), winograd_tile.n) * view.panels();
}

}  // namespace

WinogradView::WinogradView(const ConvProblem& p, bool forward)
    : in_channels(forward ? p.c : p.k),
      out_channels(forward ? p.k : p.c),
      in(forward ? p.input : p.output),
      out(forward ? p.output : p.input) {}

WinogradView::WinogradView(const ConvProblem& p)
    : WinogradView(p, p.direction == ConvDirection::fprop) {}

int64_t WinogradView::patches(int64_t images, int64_t outputs) const {
  return images * ceil_div(out.h, outputs) * ceil_div(out.w, outputs);
}

double step_cycles(double products, double loads_bytes) {
  const double loads = loads_bytes / load_bytes_per_cycle;
  return std::max(products, loads) + exposed * std::min(products, loads);
}

double simt_cycles(const ConvProblem& p, const DeviceCaps& device) {
  const View view(p);
  const double rate = multiply_adds_per_cycle(DType::float32, device.arch, false);
  double least = std::numeric_limits<double>::infinity();
  for (const Tile tile : {Tile{128, 128, 8}, Tile{64, 64, 8}}) {
    const int64_t blocks =
        ceil_div(p.n * view.out.volume(), tile.m) * ceil_div(view.out_channels, tile.n);
    const auto share = static_cast<double>(ceil_div(blocks, device.multiprocessors));
    const auto steps = static_cast<double>(ceil_div(9 * view.in_channels, tile.k));
    const double step =
        step_cycles(tile.m * tile.n * tile.k / rate, 4.0 * (tile.m + tile.n) * tile.k);
    const double stores = 4.0 * tile.m * tile.n / store_bytes_per_cycle;
    least = std::min(least, share * (steps * step + stores) + start_cycles);
  }
  return least;
}

double winograd_cycles(const ConvProblem& p, const DeviceCaps& device) {
  const View view(p);
  const double rate = multiply_adds_per_cycle(DType::float32, device.arch, false);
  constexpr Tile tile = winograd_tile;
  // Of a thread: a step's transform with its loads and stores; the exchange and the other
  // transform.
  constexpr double step_instructions = 150, end_instructions = 1200;
  const double products = winograd_places * tile.m * tile.n * tile.k / rate;
  const double loads = 4.0 * winograd_places * (tile.m + tile.n) * tile.k;
  const double step = step_cycles(products, loads) + winograd_threads * step_instructions / rate;
  const double stores = 4.0 * 4 * tile.m * tile.n / store_bytes_per_cycle;
  const double end = start_cycles + stores + winograd_threads * end_instructions / rate;
  const auto share = static_cast<double>(ceil_div(winograd_blocks(p), device.multiprocessors));
  const double filters = static_cast<double>(winograd_workspace_bytes(p)) / store_bytes_per_cycle /
                         device.multiprocessors;
  return second_kernel_cycles + filters + share * (static_cast<double>(view.steps()) * step + end);
}

int64_t winograd_workspace_bytes(const ConvProblem& p) {
  const View view(p);
  return 4 * winograd_places * view.panels() * winograd_tile.m * view.steps() * winograd_tile.k;
}

std::string refuse_winograd_geometry(const ConvProblem& p) {
  if (!winograd_allowed()) return winograd_switched_off;
  if (p.filter != Extent3{1, 3, 3} || !p.planar() || p.groups > 1)
    return sentence("takes filters of 3 x 3 over planes in one group, but the filter is ",
                    p.filter.d, " x ", p.filter.h, " x ", p.filter.w, " and groups = ", p.groups);
  for (int axis = 1; axis < 3; ++axis)
    if (p.stride[axis] > 1 || p.dilation[axis] > 1)
      return sentence("is for stride and dilation 1, not ", p.stride[axis], " and ",
                      p.dilation[axis]);
  const int64_t most = std::max({p.input_elements(), p.weight_elements(), p.output_elements()});
  if (most >= int64_t{1} << 31)
    return sentence("is for tensors of less than 2^31 elements, but one has ", most);
  const WinogradView view(p);
  // Patches' rows of pixels are stepped over by 32 bits; so are coordinates.
  constexpr int64_t limit = int64_t{1} << 30, most_rows = 6;
  const int64_t rows = most_rows * (view.in.w + p.pad_begin.w + p.pad_end.w) * view.in_channels;
  const int64_t height = view.in.h + p.pad_begin.h + p.pad_end.h;
  if (std::max({rows, height, most_rows * view.out.w * view.out_channels}) >= limit)
    return sentence("steps by 32 bits, but ", most_rows, " rows have ", rows, " elements");
  return "";
}

std::string refuse_winograd(const ConvProblem& p, const DeviceCaps& device) {
  if (std::string reason = refuse_winograd_geometry(p); !reason.empty()) return reason;
  const View view(p);
  constexpr int64_t least = 3;
  if (std::min(view.in_channels, view.out_channels) < least)
    return sentence("makes ", winograd_tile.m, " channels from ", winograd_tile.k,
                    " at a time, but C = ", p.c, " and K = ", p.k);
  constexpr int64_t limit = int64_t{1} << 30;
  const int64_t panels = view.panels() * view.steps() * winograd_tile.k;
  if (view.patches(p.n) >= limit || winograd_blocks(p) >= limit || panels >= limit)
    return sentence("counts in 32 bits, but there are ", view.patches(p.n), " patches and ",
                    view.out_channels, " x ", view.in_channels, " filters");
  if (winograd_shared_bytes > device.shared_per_block)
    return sentence("needs ", winograd_shared_bytes, " bytes of shared memory, ", device.product,
                    " has ", device.shared_per_block, " for a block");
  return "";
}

std::string yield_winograd_device(const DeviceCaps& device) {
  if (device.arch != 75 && device.arch != 86 && device.arch != 89)
    return sentence("is taken where nothing beats the FP32 units, on sm_75, sm_86 and sm_89; on ",
                    device.product, " only when it is named");
  return "";
}

std::string yield_winograd(const ConvProblem& p, const DeviceCaps& device) {
  if (std::string reason = yield_winograd_device(device); !reason.empty()) return reason;
  const double cycles = winograd_cycles(p, device);
  const double gemm = simt_cycles(p, device);
  if (cycles < gemm) return "";
  return sentence("saves products, but with its transforms is modelled to take ",
                  std::llround(cycles), " cycles, the implicit GEMM ", std::llround(gemm));
}

ConvKernelInfo winograd_kernel(ConvDirection direction, Layout layout) {
  constexpr Tile tile = winograd_tile;
  return {ConvKernelFamily::winograd,
          sentence("winograd_", tile.m, "x", tile.n, "x", tile.k),
          direction,
          DType::float32,
          false,
          layout,
          1,
          tile,
          winograd_threads,
          winograd_shared_bytes,
          sentence("winograd<(cnnkern::Layout)", static_cast<int>(layout), ">")};
}

void plan_winograd(const ConvProblem& p, const DeviceCaps& device, ConvPlan& plan) {
  plan.grid[0] = winograd_blocks(p);
  plan.workspace_bytes = winograd_workspace_bytes(p);
  plan.why = sentence("16 products for 4 outputs instead of 36: ", winograd_blocks(p),
                      " blocks for ", device.multiprocessors, " multiprocessors, modelled to take ",
                      std::llround(winograd_cycles(p, device)), " cycles, the implicit GEMM ",
                      std::llround(simt_cycles(p, device)));
}

}  // namespace cnnkern
