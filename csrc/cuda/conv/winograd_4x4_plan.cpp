#include "cuda/conv/winograd_4x4_plan.h"

#include <algorithm>
#include <cmath>

#include "common/ceil_div.h"
#include "common/sentence.h"
#include "cuda/conv/conv_plan_mma.h"

namespace cnnkern {
namespace {

constexpr int64_t places = winograd_4x4_places, float_bytes = 4;
constexpr int64_t most_slice_bytes = int64_t{64} << 20;  // V and the products of a slice
constexpr Tile large{128, 128, 8}, small{64, 64, 8};
// Round figures, as in winograd_plan.cpp; to and from DRAM and L2, of one multiprocessor.
constexpr double dram_bytes_per_cycle = 5, l2_bytes_per_cycle = 16, kernel_cycles = 3000;
constexpr double block_cycles = 1000;
// Of a thread of either transform, its loads and stores included.
constexpr double transform_instructions = 250;

int64_t filter_bytes(const ConvProblem& p) {
  constexpr int64_t line = 256;
  return ceil_div(places * p.c * p.k * float_bytes, line) * line;
}

int64_t patch_bytes(const ConvProblem& p) { return places * (p.c + p.k) * float_bytes; }

/// Patches of a slice: half of what L2 holds, but two blocks for each multiprocessor.
int64_t slice_of(const ConvProblem& p, const DeviceCaps& device) {
  const WinogradView view(p);
  const int64_t blocks_of_a_row = places * ceil_div(view.out_channels, large.n);
  const int64_t least = ceil_div(2 * device.multiprocessors, blocks_of_a_row) * large.m;
  const int64_t bytes = std::max<int64_t>(device.l2_bytes / 2, least * patch_bytes(p));
  const int64_t rows = std::min(bytes, most_slice_bytes) / patch_bytes(p) / large.m;
  const int64_t most = std::max<int64_t>(view.patches(p.n, 4), 1);
  return std::min(std::max<int64_t>(rows, 1) * large.m, most);
}

struct Modelled {
  Tile tile;
  double cycles;
};

/// Cycles that a multiprocessor is modelled to spend, with the better tile.
Modelled modelled(const ConvProblem& p, const DeviceCaps& device) {
  const WinogradView view(p);
  const int64_t patches = view.patches(p.n, 4), slice = slice_of(p, device);
  const double rate = multiply_adds_per_cycle(DType::float32, device.arch, false);
  const auto of_each = [&](double whole) { return whole / device.multiprocessors; };
  const auto slices = static_cast<double>(ceil_div(patches, slice));
  const auto channels = static_cast<double>(p.c + p.k);
  // V and the products are written once and read once; where they leave L2, by way of DRAM.
  const bool in_l2 = slice * patch_bytes(p) <= device.l2_bytes;
  const double bytes = static_cast<double>(2 * patches * patch_bytes(p));
  const double transforms =
      of_each(bytes) / (in_l2 ? l2_bytes_per_cycle : dram_bytes_per_cycle) +
      of_each(static_cast<double>(patches) * channels * transform_instructions) / rate +
      of_each(static_cast<double>(filter_bytes(p))) / dram_bytes_per_cycle;
  Modelled best{};
  for (const Tile tile : {large, small}) {
    const auto grid = winograd_4x4_grid(winograd_4x4_products(p, slice), tile);
    const auto share =
        static_cast<double>(ceil_div(grid[0] * grid[2], int64_t{device.multiprocessors}));
    const auto steps = static_cast<double>(ceil_div(view.in_channels, int64_t{tile.k}));
    const double step =
        step_cycles(tile.m * tile.n * tile.k / rate, 4.0 * (tile.m + tile.n) * tile.k);
    const double gemm = share * (steps * step + block_cycles);
    const double cycles = transforms + kernel_cycles + slices * (gemm + 2 * kernel_cycles);
    if (best.cycles == 0 || cycles < best.cycles) best = {tile, cycles};
  }
  return best;
}

}  // namespace

Winograd4x4Workspace::Winograd4x4Workspace(const ConvProblem& p, int64_t workspace_bytes)
    : patches(WinogradView(p).patches(p.n, 4)),
      slice((workspace_bytes - filter_bytes(p)) / patch_bytes(p)),
      v(filter_bytes(p)),
      products(v + slice * places * WinogradView(p).in_channels * float_bytes) {}

ConvProblem winograd_4x4_products(const ConvProblem& p, int64_t patches) {
  const WinogradView view(p);
  ConvProblem q;
  q.layout = p.layout;
  q.c = places * view.in_channels;
  q.k = places * view.out_channels;
  q.groups = places;
  q.input.w = patches;
  q.set_output();
  return q;
}

std::array<int64_t, 3> winograd_4x4_grid(const ConvProblem& products, Tile tile) {
  return {ceil_div(products.output.w, int64_t{tile.m}) *
              ceil_div(products.k_per_group(), int64_t{tile.n}),
          1, places};
}

std::string refuse_winograd_4x4(const ConvProblem& p, const DeviceCaps& device) {
  if (std::string reason = refuse_winograd_geometry(p); !reason.empty()) return reason;
  constexpr int64_t most_channels = 1024;
  const WinogradView view(p);
  constexpr int64_t least = 3;
  if (std::min(p.c, p.k) < least)
    return sentence("is for at least ", least, " channels and filters, but C = ", p.c,
                    " and K = ", p.k);
  if (view.in_channels > most_channels)
    return sentence("rounds sums of products with fractions, which for ", view.in_channels,
                    " channels, more than ", most_channels, ", would pass the bound of its error");
  if (view.patches(p.n, 4) >= int64_t{1} << 30 || p.c * p.k >= int64_t{1} << 30)
    return sentence("counts in 32 bits, but there are ", view.patches(p.n, 4), " patches and ",
                    p.c * p.k, " filters of a channel");
  const int64_t shared = simt_shared_bytes(large, device.arch);
  if (shared > device.shared_per_block)
    return sentence("needs ", shared, " bytes of shared memory, ", device.product, " has ",
                    device.shared_per_block, " for a block");
  return "";
}

std::string yield_winograd_4x4(const ConvProblem& p, const DeviceCaps& device) {
  if (std::string reason = yield_winograd_device(device); !reason.empty()) return reason;
  const double cycles = modelled(p, device).cycles;
  const double gemm = simt_cycles(p, device);
  const double fused = refuse_winograd(p, device).empty() ? winograd_cycles(p, device) : gemm;
  if (cycles < std::min(gemm, fused)) return "";
  return sentence("saves products, but with its way through memory is modelled to take ",
                  std::llround(cycles), " cycles, the fused Winograd ", std::llround(fused),
                  ", the implicit GEMM ", std::llround(gemm));
}

ConvKernelInfo winograd_4x4_kernel(ConvDirection direction, Layout layout) {
  return {ConvKernelFamily::winograd_4x4,
          "winograd_4x4",
          direction,
          DType::float32,
          false,
          layout,
          1,
          large,
          simt_threads(large),
          simt_shared_bytes(large, 75),
          "gemm_fprop"};
}

void plan_winograd_4x4(const ConvProblem& p, const DeviceCaps& device, ConvPlan& plan) {
  const Modelled best = modelled(p, device);
  const int64_t slice = slice_of(p, device), patches = WinogradView(p).patches(p.n, 4);
  plan.tile = best.tile;
  plan.threads = simt_threads(best.tile);
  plan.shared_bytes = simt_shared_bytes(best.tile, device.arch);
  plan.grid = winograd_4x4_grid(winograd_4x4_products(p, slice), best.tile);
  if (patches == 0) plan.grid[0] = 0;
  plan.workspace_bytes = filter_bytes(p) + slice * patch_bytes(p);
  const bool vectors = p.layout == Layout::nhwc && WinogradView(p).in_channels % 4 == 0;
  plan.symbol =
      sentence("gemm_fprop<float, (cnnkern::Layout)", static_cast<int>(p.layout), ", ",
               vectors ? 4 : 1, ", ", best.tile.m, ", ", best.tile.n, ", ", best.tile.k, ">");
  plan.why = sentence("36 products for 16 outputs instead of 144, as a 1 x 1 convolution in 36 ",
                      "groups: ", patches, " patches, ", slice, " at a time, modelled to take ",
                      std::llround(best.cycles), " cycles, the implicit GEMM ",
                      std::llround(simt_cycles(p, device)));
}

}  // namespace cnnkern
