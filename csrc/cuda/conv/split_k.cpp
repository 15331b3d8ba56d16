#include "cuda/conv/split_k.h"

#include <algorithm>
#include <cmath>

#include "common/ceil_div.h"
#include "cuda/conv/conv_plan_mma.h"
#include "cuda/conv/gemm_view.h"

namespace cnnkern {
namespace {

constexpr int64_t max_workspace_bytes = int64_t{64} << 20;
constexpr int64_t max_parts = 65535, max_blocks_each = 8;
// Round figures of the GPUs in device_caps.h, of one multiprocessor: warps that keep its schedulers
// busy, bytes that L2 gives it, bytes of results that it writes or reads, a block's way to its
// first product, and the start of a second kernel.
constexpr double busy_warps = 8;
constexpr double load_bytes_per_cycle = 32, result_bytes_per_cycle = 16;
constexpr double start_cycles = 1500, reduction_cycles = 3000;

}  // namespace

SplitK split_wgrad(Tile tile, bool tensor_cores, const ConvProblem& p, const DeviceCaps& device) {
  if (p.direction != ConvDirection::wgrad) return {};
  const GemmView view = gemm_view(p);
  const int64_t blocks = view.tiles(tile) * p.groups, elements = p.weight_elements();
  const int64_t depth_tiles = ceil_div(view.depth, tile.k), size = size_of(p.dtype);
  const double rate = tensor_cores ? tensor_core_rate(p, device.arch)
                                   : multiply_adds_per_cycle(p.dtype, device.arch, false);
  const double math = tile.m * tile.n * tile.k / rate;
  const double loads =
      static_cast<double>((tile.m + tile.n) * tile.k * size) / load_bytes_per_cycle;
  const int64_t of_sum = sum_bytes(p.dtype);
  const double results = static_cast<double>(of_sum * tile.m * tile.n) / result_bytes_per_cycle;
  const int threads = tensor_cores ? mma_threads(tile, splits_float32(p)) : simt_threads(tile);
  const double alone = std::max(1.0, busy_warps * 32 / threads);
  const auto modelled = [&](int64_t parts) {
    const auto each = static_cast<double>(ceil_div(blocks * parts, device.multiprocessors));
    const auto depth = static_cast<double>(ceil_div(depth_tiles, parts));
    const double tile_cycles = std::max(each * std::max(math, loads), alone * math);
    const double cycles =
        depth * tile_cycles + std::ceil(each / alone) * start_cycles + each * results;
    if (parts == 1) return cycles;
    const auto bytes = static_cast<double>(elements * (of_sum * parts + size));
    return cycles + reduction_cycles + bytes / (result_bytes_per_cycle * device.multiprocessors);
  };
  SplitK best{1, modelled(1), modelled(1)};
  const int64_t most = std::min(
      {max_parts, depth_tiles, max_workspace_bytes / (of_sum * std::max<int64_t>(elements, 1))});
  // Of all counts that give a multiprocessor so many blocks the largest has the shortest depth.
  for (int64_t each = 1; each <= max_blocks_each && blocks > 0; ++each) {
    const int64_t fill = std::min(each * device.multiprocessors / blocks, most);
    if (fill <= 1) continue;
    const int64_t parts = ceil_div(depth_tiles, ceil_div(depth_tiles, fill));
    if (const double cycles = modelled(parts); cycles < best.cycles)
      best.parts = static_cast<int>(parts), best.cycles = cycles;
  }
  return best;
}

}  // namespace cnnkern
