#include "cuda/conv/conv_plan_mma.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "common/ceil_div.h"
#include "common/sentence.h"
#include "cuda/conv/gemm_view.h"
#include "cuda/conv/split_k.h"
#include "cuda/conv/tf32x3.h"

namespace cnnkern {
namespace {

constexpr int most_registers = 255;
// Round figures of the GPUs in device_caps.h: what L2 gives a multiprocessor, what it takes from
// one, and a block's way to its first product.
constexpr double load_bytes_per_cycle = 32, store_bytes_per_cycle = 16, start_cycles = 1000;
constexpr double exposed = 0.25;  // of the shorter of two that should hide each other

std::string refuse_arch(const ConvProblem& p, const DeviceCaps& device) {
  if (device.arch >= (p.dtype == DType::float16 ? 75 : 80)) return "";
  return sentence("multiplies ", p.dtype == DType::float32 ? "tf32" : to_string(p.dtype),
                  " on tensor cores, which ", device.product, " cannot");
}

/// Taps of the longest walk that cannot be cut: a row of them in each plane of the filter (fprop),
/// or those of one class of pixels (dgrad).
int64_t taps_of_a_walk(const ConvProblem& p) {
  if (p.direction == ConvDirection::fprop) return p.filter.d * p.filter.w;
  int64_t taps = 1;
  for (int axis = 0; axis < 3; ++axis)
    taps *= ceil_div(p.filter[axis], p.stride[axis] / std::gcd(p.stride[axis], p.dilation[axis]));
  return taps;
}

std::string refuse_first_layer_wgrad(const ConvProblem& p) {
  constexpr int64_t most_taps = 16;  // along an axis
  if (p.dilation.h > 1)
    return sentence("takes neighbouring rows, but the dilation along a column is ", p.dilation.h);
  if (std::max(p.filter.h, p.filter.w) > most_taps)
    return sentence("keeps a bit for each row and each column of the filter in ", most_taps,
                    ", but it is ", p.filter.h, " x ", p.filter.w);
  // From the first window of the first image to the end of the last, padding included.
  const int64_t rows = p.n * p.input.h + p.pad_begin.h + p.pad_end.h + 1;
  const int64_t elements = rows * (p.input.w + p.pad_begin.w + p.pad_end.w) * p.c;
  if (elements >= int64_t{1} << 31)
    return sentence("finds windows by 32-bit offsets, but the images have ", elements,
                    " elements with their padding");
  return "";
}

}  // namespace

std::string refuse_tap_walk(const ConvProblem& p, Tile tile, const DeviceCaps& device) {
  if (std::string reason = refuse_arch(p, device); !reason.empty()) return reason;
  const bool dgrad = p.direction == ConvDirection::dgrad;
  const int64_t c = p.c_per_group(), k = p.k_per_group(), taps = p.filter.volume();
  if (const int64_t walk = taps_of_a_walk(p); walk > max_walk_taps)
    return sentence("keeps a bit for each tap of ", dgrad ? "a stride class" : "a row", " in ",
                    max_walk_taps, ", but there are ", walk, " taps");
  // The farthest that a step between two tiles may lead, forwards or back.
  const Extent3& gathered = dgrad ? p.output : p.input;
  int64_t pixels = 0, stride = dgrad ? p.k : p.c;
  for (int axis = 2; axis >= 0; --axis) {
    pixels += p.footprint(axis) * stride;
    stride *= gathered[axis];
  }
  const int64_t filter = (dgrad ? k + tile.k : tile.n) * c * taps;
  if (std::max(pixels + p.c + p.k, filter) >= int64_t{1} << 31)
    return sentence("steps by 32 bits, but a window spans ", pixels, " elements and a filter step ",
                    filter);
  return "";
}

std::string refuse_first_layer(const ConvProblem& p, const DeviceCaps& device) {
  if (std::string reason = refuse_arch(p, device); !reason.empty()) return reason;
  constexpr int64_t most_channels = 4;
  if (p.c > most_channels || p.groups > 1)
    return sentence("is for images of at most ", most_channels,
                    " channels in one group, but C = ", p.c, " and groups = ", p.groups);
  if (!p.planar() || p.dilation.w > 1)
    return sentence("takes rows of a plane's filter whole, but the filter is ", p.filter.d,
                    " deep and its dilation along a row ", p.dilation.w);
  // A window in the image, from its first row to the one after the last.
  const int64_t window = (p.footprint(1) + 1) * p.input.w * p.c;
  const int64_t row = (p.input.w + p.pad_begin.w + p.pad_end.w + p.filter.w) * p.c;
  if (std::max(window, row) >= int64_t{1} << 30)
    return sentence("steps by 32 bits, but a window spans ", window, " elements");
  return p.direction == ConvDirection::wgrad ? refuse_first_layer_wgrad(p) : "";
}

std::string refuse_window_steps(const ConvProblem& p, const DeviceCaps& device) {
  if (std::string reason = refuse_arch(p, device); !reason.empty()) return reason;
  // From one row of a tile to the thread's next, which is this far at most.
  constexpr int64_t most_pixels = 32;
  __int128 image = p.c;
  int64_t windows = 1;
  for (int axis = 0; axis < 3; ++axis) {
    image *= p.input[axis] + p.pad_begin[axis] + p.pad_end[axis] + p.stride[axis];
    windows *= p.output[axis];
  }
  if ((most_pixels / std::max<int64_t>(windows, 1) + 2) * image < int64_t{1} << 31) return "";
  return sentence("moves its windows by 32-bit steps, but an image has ",
                  static_cast<double>(image), " elements with its padding");
}

bool splits_float32(const ConvProblem& p) { return p.dtype == DType::float32 && !p.tf32; }

std::string yield_tensor_cores(const ConvProblem& p, const DeviceCaps& device) {
  if (p.dtype != DType::float32) return "";
  const double exact = multiply_adds_per_cycle(p.dtype, device.arch, false);
  const double rate = tensor_core_rate(p, device.arch);
  if (rate > exact) return "";
  if (splits_float32(p))
    return sentence("makes three products of tf32 for one, ", std::lround(rate),
                    " times a cycle; the FP32 units of ", device.product, " make one of float32 ",
                    exact, " times");
  return sentence("multiplies tf32, ", rate, " times a cycle: as often the FP32 units of ",
                  device.product, " multiply float32, which they do not round");
}

double multiply_adds_per_cycle(DType dtype, int arch, bool tensor_cores) {
  // NVIDIA's architecture whitepapers; sm_90 and sm_100 by mma.sync.
  const bool consumer = arch == 86 || arch == 89 || arch >= 120;
  if (dtype == DType::float64) return consumer || arch < 80 ? 2 : arch == 90 ? 128 : 64;
  if (!tensor_cores) return arch <= 80 ? 64 : 128;
  const double of_16_bits = arch < 80 ? 512 : consumer ? 256 : 1024;
  return of_16_bits * 2 / static_cast<double>(size_of(dtype));
}

double tensor_core_rate(const ConvProblem& p, int arch) {
  const double rate = multiply_adds_per_cycle(p.dtype, arch, true);
  return splits_float32(p) ? rate / 3 : rate;
}

double mma_cycles(Tile tile, const ConvProblem& p, const DeviceCaps& device) {
  if (p.direction == ConvDirection::wgrad) return split_wgrad(tile, true, p, device).cycles;
  const GemmView view = gemm_view(p);
  const int64_t channels = p.direction == ConvDirection::fprop ? p.c_per_group() : p.k_per_group();
  // Of a block, in tiles, on average over the classes.
  const auto depth = static_cast<double>(p.filter.volume() * ceil_div(channels, tile.k)) /
                     static_cast<double>(view.classes);
  const auto bytes = static_cast<double>(size_of(p.dtype));
  const double products = tile.m * tile.n * tile.k / tensor_core_rate(p, device.arch);
  const double loads = (tile.m + tile.n) * tile.k * bytes / load_bytes_per_cycle;
  const double stores = tile.m * tile.n * bytes / store_bytes_per_cycle;
  const int64_t blocks = view.tiles(tile) * view.classes * p.groups;
  const auto share = static_cast<double>(ceil_div(blocks, device.multiprocessors));
  const int resident = blocks_per_multiprocessor(
      device, mma_threads(tile, splits_float32(p)), most_registers,
      static_cast<int>(mma_shared_bytes(tile, device.arch, size_of(p.dtype))));
  const double tile_cycles = std::max(products, loads) + exposed * std::min(products, loads);
  return share * depth * tile_cycles + std::ceil(share / resident) * (start_cycles + stores);
}

double fewest_mma_cycles(const ConvProblem& p, const DeviceCaps& device) {
  struct Row {
    ConvDirection direction;
    DType dtype;
    bool splits;
    Tile tile;
  };
  static constexpr Row rows[] = {
#define CNNKERN_MMA_ROW(direction, dtype, type, m, n, k) \
  {ConvDirection::direction, DType::dtype, std::is_same_v<type, tf32x3>, {m, n, k}},
#define CNNKERN_MMA_FPROP(...) CNNKERN_MMA_ROW(fprop, __VA_ARGS__)
#define CNNKERN_MMA_DGRAD(...) CNNKERN_MMA_ROW(dgrad, __VA_ARGS__)
#define CNNKERN_MMA_WGRAD(...) CNNKERN_MMA_ROW(wgrad, __VA_ARGS__)
#include "cuda/conv/conv_kernels.inc"
  };
  double fewest = std::numeric_limits<double>::infinity();
  for (const Row& row : rows)
    if (row.direction == p.direction && row.dtype == p.dtype && row.splits == splits_float32(p))
      fewest = std::min(fewest, mma_cycles(row.tile, p, device));
  return fewest;
}

}  // namespace cnnkern
