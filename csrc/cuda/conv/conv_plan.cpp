#include "cuda/conv/conv_plan.h"

#include <algorithm>
#include <cmath>

#include "common/ceil_div.h"
#include "common/sentence.h"
#include "cuda/conv/conv_plan_mma.h"
#include "cuda/conv/depthwise_plan.h"
#include "cuda/conv/gemm_view.h"
#include "cuda/conv/group_packing.h"
#include "cuda/conv/ladder/ladder.h"
#include "cuda/conv/split_k.h"
#include "cuda/conv/tf32x3.h"
#include "cuda/conv/winograd_4x4_plan.h"

namespace cnnkern {
namespace {

constexpr int direct_threads = 256;
constexpr int64_t limit_31_bits = int64_t{1} << 31;
constexpr int64_t max_grid_x = limit_31_bits - 1, max_grid_yz = 65535;

const std::vector<ConvKernelInfo>& cached_table(int arch) {
  static const std::vector<ConvKernelInfo> tables[2] = {conv_kernel_table(75),
                                                        conv_kernel_table(80)};
  return tables[arch >= 80];
}

bool is_mma(ConvKernelFamily family) {
  return family == ConvKernelFamily::mma || family == ConvKernelFamily::mma_3xtf32;
}

SplitK split_wgrad(const ConvKernelInfo& kernel, const ConvProblem& p, const DeviceCaps& device) {
  const bool tensor_cores = is_mma(kernel.family) || kernel.family == ConvKernelFamily::first_layer;
  return split_wgrad(kernel.tile, tensor_cores, p, device);
}

std::string refuse_vectors(const ConvKernelInfo& kernel, const ConvProblem& p) {
  const int64_t c = p.c_per_group(), k = p.k_per_group();
  const bool needs_c = kernel.family != ConvKernelFamily::first_layer;
  const bool needs_k =
      p.direction != ConvDirection::fprop || kernel.family == ConvKernelFamily::f64;
  if ((!needs_c || c % kernel.vector == 0) && (!needs_k || k % kernel.vector == 0)) return "";
  return sentence("loads ", kernel.vector, " channels at a time, but ",
                  needs_c ? sentence("C/G = ", c) : "", needs_c && needs_k ? " and " : "",
                  needs_k ? sentence("K/G = ", k) : "", " is no multiple of ", kernel.vector);
}

std::string refuse_sizes(const ConvProblem& p, const GemmView& view) {
  constexpr int64_t limit_coordinate = int64_t{1} << 30;
  if (std::max({view.rows, view.columns, view.depth}) >= limit_31_bits - 1024)
    return sentence("counts in 32 bits, but the GEMM is ", view.rows, " x ", view.columns, " x ",
                    view.depth);
  for (int axis = 0; axis < 3; ++axis) {
    const int64_t extent = p.input[axis] + p.pad_begin[axis] + p.pad_end[axis];
    if (std::max({extent, p.stride[axis], p.dilation[axis]}) >= limit_coordinate)
      return sentence("keeps coordinates in 32 bits, but an axis has ", extent,
                      " elements with padding, stride ", p.stride[axis], " and dilation ",
                      p.dilation[axis]);
  }
  return "";
}

std::string refuse_simt(const ConvKernelInfo& kernel, const ConvProblem& p,
                        const DeviceCaps& device) {
  const Tile tile = kernel.tile;
  if (p.dtype != kernel.dtype)
    return sentence("computes ", to_string(kernel.dtype), ", this problem is ", to_string(p.dtype));
  if (std::string reason = refuse_vectors(kernel, p); !reason.empty()) return reason;
  const GemmView view = gemm_view(p);
  constexpr int64_t least = 3;  // the channels of a picture
  const int64_t narrow =
      p.direction == ConvDirection::wgrad ? std::min(view.rows, view.columns) : view.columns;
  if (narrow < least || view.depth < least)
    return sentence("a group's GEMM is ", view.rows, " x ", view.columns, " x ", view.depth, ": a ",
                    tile.m, " x ", tile.n, " tile would be almost empty");
  if (std::string reason = refuse_sizes(p, view); !reason.empty()) return reason;
  if (std::max(p.groups, view.classes) > max_grid_yz || view.tiles(tile) > max_grid_x)
    return sentence(view.tiles(tile), " tiles x ", view.classes, " stride classes x ", p.groups,
                    " groups exceed a grid of ", max_grid_x, " x ", max_grid_yz, " x ",
                    max_grid_yz);
  if (kernel.shared_bytes > device.shared_per_block)
    return sentence("needs ", kernel.shared_bytes, " bytes of shared memory, ", device.product,
                    " has ", device.shared_per_block, " for a block");
  return "";
}

/// Why another kernel would be faster, for a problem that refuse_simt does not refuse.
std::string yield_simt(const ConvKernelInfo& kernel, const ConvProblem& p,
                       const DeviceCaps& device) {
  const Tile tile = kernel.tile;
  const GemmView view = gemm_view(p);
  if (tile.m <= 64) return "";
  if (std::min(view.rows, view.columns) <= 64)
    return sentence("the GEMM is ", view.rows, " x ", view.columns, ": half of every ", tile.m,
                    " x ", tile.n, " tile would be empty");
  const int64_t blocks =
      view.tiles(tile) * p.groups * view.classes * split_wgrad(kernel, p, device).parts;
  if (10 * blocks >= 9 * device.multiprocessors) return "";
  return sentence(tile.m, " x ", tile.n, " tiles make ", blocks, " blocks for ",
                  device.multiprocessors,
                  " multiprocessors: a smaller tile fills the device better");
}

/// Why tensor cores cannot take a problem that comes to them by this pass.
std::string refuse_mma(const ConvKernelInfo& kernel, const ConvProblem& given,
                       const LayoutPass& pass, const DeviceCaps& device) {
  if (std::string reason = refuse_layout_pass(given, pass); !reason.empty()) return reason;
  const ConvProblem& p = pass.problem;
  if (!given.aligned)
    return sentence("loads ", kernel.vector,
                    " channels at a time, but a tensor does not lie on 16 bytes");
  if (kernel.rounds_to_tf32() && !p.tf32)
    return "rounds float32 to tf32, which this problem does not allow";
  std::string reason = p.direction == ConvDirection::wgrad
                           ? refuse_window_steps(p, device)
                           : refuse_tap_walk(p, kernel.tile, device);
  return reason.empty() ? refuse_simt(kernel, p, device) : reason;
}

std::string refuse_first(const ConvKernelInfo& kernel, const ConvProblem& p,
                         const DeviceCaps& device) {
  std::string reason = refuse_first_layer(p, device);
  return reason.empty() ? refuse_simt(kernel, p, device) : reason;
}

/// Why another tile of the family would be faster.
std::string yield_tile(const ConvKernelInfo& kernel, const ConvProblem& p,
                       const DeviceCaps& device) {
  const double cycles = mma_cycles(kernel.tile, p, device);
  for (const ConvKernelInfo& other : cached_table(device.arch)) {
    if (other.family != kernel.family || other.direction != p.direction || other.dtype != p.dtype)
      continue;
    if (const double less = mma_cycles(other.tile, p, device); less < cycles)
      return sentence(kernel.tile.m, " x ", kernel.tile.n, " tiles are modelled to take ",
                      std::llround(cycles), " cycles, ", other.tile.m, " x ", other.tile.n,
                      " tiles ", std::llround(less));
  }
  return "";
}

/// Why another tile or kernel would be faster, for a problem that refuse_mma does not refuse.
std::string yield_mma(const ConvKernelInfo& kernel, const ConvProblem& given,
                      const LayoutPass& pass, const DeviceCaps& device) {
  if (kernel.family == ConvKernelFamily::mma_3xtf32 && given.tf32)
    return "makes three products of tf32 for one, and this problem may be rounded to tf32";
  if (std::string reason = yield_tensor_cores(given, device); !reason.empty()) return reason;
  if (std::string reason = yield_layout_pass(given, pass, device); !reason.empty()) return reason;
  return yield_tile(kernel, pass.problem, device);
}

/// A kernel that computes this direction in this layout, as choose() wants it.
struct Candidate {
  std::string name;
  int index;
  const ConvKernelInfo* info;
  const LayoutPass* pass;
  bool forced;  // then only what it cannot do counts, not what others do better

  std::string refuse(const ConvProblem& problem, const DeviceCaps& device) const {
    std::string reason = cannot(problem, device);
    return reason.empty() && !forced ? yield(problem, device) : reason;
  }

 private:
  std::string cannot(const ConvProblem& problem, const DeviceCaps& device) const {
    switch (info->family) {
      case ConvKernelFamily::simt:
      case ConvKernelFamily::f64: return refuse_simt(*info, problem, device);
      case ConvKernelFamily::winograd: return refuse_winograd(problem, device);
      case ConvKernelFamily::winograd_4x4: return refuse_winograd_4x4(problem, device);
      case ConvKernelFamily::mma:
      case ConvKernelFamily::mma_3xtf32: return refuse_mma(*info, problem, *pass, device);
      case ConvKernelFamily::first_layer: return refuse_first(*info, problem, device);
      case ConvKernelFamily::depthwise: return refuse_depthwise(problem, info->vector);
      case ConvKernelFamily::ladder: return refuse_ladder(*info, problem, device);
      default: return "";
    }
  }

  std::string yield(const ConvProblem& problem, const DeviceCaps& device) const {
    switch (info->family) {
      case ConvKernelFamily::simt: return yield_simt(*info, problem, device);
      case ConvKernelFamily::winograd: return yield_winograd(problem, device);
      case ConvKernelFamily::winograd_4x4: return yield_winograd_4x4(problem, device);
      case ConvKernelFamily::mma:
      case ConvKernelFamily::mma_3xtf32: return yield_mma(*info, problem, *pass, device);
      case ConvKernelFamily::first_layer: return yield_tile(*info, problem, device);
      case ConvKernelFamily::depthwise: return yield_depthwise(problem);
      default: return "";
    }
  }
};

void plan_gemm(const ConvKernelInfo& kernel, const ConvProblem& p, const DeviceCaps& device,
               ConvPlan& plan) {
  const GemmView view = gemm_view(p);
  const SplitK split = split_wgrad(kernel, p, device);
  plan.split_k = split.parts;
  plan.grid = {view.tiles(plan.tile), std::max<int64_t>(plan.split_k, view.classes), p.groups};
  if (plan.split_k > 1)
    plan.workspace_bytes += plan.split_k * p.weight_elements() * sum_bytes(p.dtype);
  const int64_t blocks = plan.grid[0] * plan.grid[1] * plan.grid[2];
  plan.why = sentence("the GEMM is ", view.rows, " x ", view.columns, " x ", view.depth, ": ",
                      blocks, " blocks for ", device.multiprocessors, " multiprocessors");
  if (plan.split_k > 1)
    plan.why += sentence(", after splitting its depth by ", plan.split_k, ": modelled to take ",
                         std::llround(split.cycles), " cycles with the sum of the parts, ",
                         std::llround(split.whole_cycles), " in one part");
  if (kernel.family == ConvKernelFamily::first_layer) {
    const bool wgrad = p.direction == ConvDirection::wgrad;
    const int64_t elements = wgrad ? view.columns : view.depth;
    const int tile = wgrad ? plan.tile.n : plan.tile.k;
    const int64_t padded = ceil_div(elements, tile) * tile;
    plan.why += sentence(wgrad ? "; of the columns" : "; of the depth", ", padded to ", padded,
                         ", ", 100 * elements / padded, " % is filter");
  }
  if (is_mma(kernel.family) &&
      p.direction == ConvDirection::wgrad)  // its last argument: dimensions
    plan.symbol.insert(plan.symbol.size() - 1, p.planar() ? ", 2" : ", 3");
}

void plan_direct(const ConvProblem& p, ConvPlan& plan) {
  const bool wgrad = p.direction == ConvDirection::wgrad;
  const int64_t threads = wgrad                                 ? p.weight_elements() * 32
                          : p.direction == ConvDirection::fprop ? p.output_elements()
                                                                : p.input_elements();
  plan.grid[0] = std::min(ceil_div(threads, direct_threads), max_grid_x);
  plan.why = wgrad ? "takes every problem; one warp makes one weight"
                   : "takes every problem; one thread makes one element";
}

/// gemm_fprop, gemm_dgrad or gemm_wgrad.
ConvKernelInfo gemm_kernel(ConvKernelFamily family, const char* direction, ConvDirection which,
                           Layout layout, int vector, Tile tile, int arch) {
  const bool f64 = family == ConvKernelFamily::f64;
  const DType dtype = f64 ? DType::float64 : DType::float32;
  const std::string name = sentence("implicit_gemm_", f64 ? "f64_" : "simt_", tile.m, "x", tile.n,
                                    "x", tile.k, vector > 1 ? sentence("_vec", vector) : "");
  const std::string symbol = sentence("gemm_", direction, f64 ? "<double" : "<float",
                                      ", (cnnkern::Layout)", static_cast<int>(layout), ", ", vector,
                                      ", ", tile.m, ", ", tile.n, ", ", tile.k, ">");
  return {family,
          name,
          which,
          dtype,
          false,
          layout,
          vector,
          tile,
          simt_threads(tile),
          simt_shared_bytes(tile, arch, size_of(dtype)),
          symbol};
}

template <class Element>
ConvKernelInfo mma_kernel(const char* direction, ConvDirection which, DType dtype, const char* type,
                          Tile tile, int arch) {
  constexpr bool splits = std::is_same_v<Element, tf32x3>;
  return {splits ? ConvKernelFamily::mma_3xtf32 : ConvKernelFamily::mma,
          sentence("implicit_gemm_mma_", splits ? "3xtf32_" : "", tile.m, "x", tile.n, "x", tile.k),
          which,
          dtype,
          true,  // a layout pass makes the one that it wants
          Layout::nhwc,
          static_cast<int>(16 / size_of(dtype)),
          tile,
          mma_threads(tile, splits),
          mma_shared_bytes(tile, arch, size_of(dtype)),
          sentence("mma_", direction, "<", type, ", ", tile.m, ", ", tile.n, ", ", tile.k, ">")};
}

ConvKernelInfo first_layer_kernel(ConvDirection direction, DType dtype, const char* type, Tile tile,
                                  int arch) {
  const bool wgrad = direction == ConvDirection::wgrad;
  return {ConvKernelFamily::first_layer,
          sentence("first_layer_", tile.m, "x", tile.n, "x", tile.k),
          direction,
          dtype,
          false,
          Layout::nhwc,
          wgrad ? 8 : 1,
          tile,
          mma_threads(tile),
          wgrad ? first_layer_wgrad_shared_bytes(tile, arch)
                : mma_shared_bytes(tile, arch, size_of(dtype)),
          sentence(wgrad ? "first_layer_wgrad<" : "first_layer<", type, ", ", tile.m, ", ", tile.n,
                   ", ", tile.k, ">")};
}

ConvKernelInfo direct_kernel(const char* direction, ConvDirection which, DType dtype,
                             const char* type) {
  const std::string symbol = sentence("direct_", direction, "<", type, ">");
  return {ConvKernelFamily::direct, "direct", which, dtype, true, Layout::nchw, 1, {},
          direct_threads,           0,        symbol};
}

ConvKernelInfo depthwise_kernel(ConvDirection direction, Layout layout, DType dtype, int vector) {
  const std::string name = sentence("depthwise", vector > 1 ? sentence("_vec", vector) : "");
  return {ConvKernelFamily::depthwise, name, direction,  dtype, false, layout, vector, {},
          depthwise_threads,           0,    "depthwise"};
}

void plan_depthwise(const ConvProblem& p, const DeviceCaps& device, int vector, ConvPlan& plan) {
  plan.split_k = depthwise_splits(p, vector, device);
  const DepthwiseShape shape = depthwise_shape(p, vector, plan.split_k);
  plan.grid = shape.grid;
  plan.threads = shape.threads;
  plan.shared_bytes = shape.shared_bytes;
  plan.symbol = shape.symbol;
  if (plan.split_k > 1)
    plan.workspace_bytes = plan.split_k * p.weight_elements() * sum_bytes(p.dtype);
  plan.why =
      sentence("each channel has ", p.k_per_group(), " filters of ", p.filter.volume(), " taps, ",
               vector > 1 ? sentence(vector, " elements") : "one element", " an access");
  if (plan.split_k > 1) plan.why += sentence("; the pixels are cut into ", plan.split_k, " parts");
}

}  // namespace

std::vector<ConvKernelInfo> conv_kernel_table(int arch) {
  return {
#define CNNKERN_SIMT_FPROP(layout, vector, m, n, k)                                          \
  gemm_kernel(ConvKernelFamily::simt, "fprop", ConvDirection::fprop, Layout::layout, vector, \
              {m, n, k}, arch),
#define CNNKERN_F64_FPROP(layout, vector, m, n, k)                                          \
  gemm_kernel(ConvKernelFamily::f64, "fprop", ConvDirection::fprop, Layout::layout, vector, \
              {m, n, k}, arch),
#define CNNKERN_SIMT_DGRAD(layout, vector, m, n, k)                                          \
  gemm_kernel(ConvKernelFamily::simt, "dgrad", ConvDirection::dgrad, Layout::layout, vector, \
              {m, n, k}, arch),
#define CNNKERN_F64_DGRAD(layout, vector, m, n, k)                                          \
  gemm_kernel(ConvKernelFamily::f64, "dgrad", ConvDirection::dgrad, Layout::layout, vector, \
              {m, n, k}, arch),
#define CNNKERN_SIMT_WGRAD(layout, vector, m, n, k)                                          \
  gemm_kernel(ConvKernelFamily::simt, "wgrad", ConvDirection::wgrad, Layout::layout, vector, \
              {m, n, k}, arch),
#define CNNKERN_F64_WGRAD(layout, vector, m, n, k)                                          \
  gemm_kernel(ConvKernelFamily::f64, "wgrad", ConvDirection::wgrad, Layout::layout, vector, \
              {m, n, k}, arch),
#define CNNKERN_WINOGRAD(direction, layout) \
  winograd_kernel(ConvDirection::direction, Layout::layout),
#define CNNKERN_WINOGRAD_4X4(direction, layout) \
  winograd_4x4_kernel(ConvDirection::direction, Layout::layout),
#define CNNKERN_LADDER(rung) ladder_kernel(rung),
#define CNNKERN_MMA_FPROP(dtype, type, m, n, k) \
  mma_kernel<type>("fprop", ConvDirection::fprop, DType::dtype, #type, {m, n, k}, arch),
#define CNNKERN_MMA_DGRAD(dtype, type, m, n, k) \
  mma_kernel<type>("dgrad", ConvDirection::dgrad, DType::dtype, #type, {m, n, k}, arch),
#define CNNKERN_MMA_WGRAD(dtype, type, m, n, k) \
  mma_kernel<type>("wgrad", ConvDirection::wgrad, DType::dtype, #type, {m, n, k}, arch),
#define CNNKERN_FIRST_LAYER_FPROP(dtype, type, m, n, k) \
  first_layer_kernel(ConvDirection::fprop, DType::dtype, #type, {m, n, k}, arch),
#define CNNKERN_FIRST_LAYER_WGRAD(dtype, type, m, n, k) \
  first_layer_kernel(ConvDirection::wgrad, DType::dtype, #type, {m, n, k}, arch),
#define CNNKERN_DEPTHWISE(direction, layout, dtype, type, vector) \
  depthwise_kernel(ConvDirection::direction, Layout::layout, DType::dtype, vector),
#define CNNKERN_DIRECT(direction, dtype, type) \
  direct_kernel(#direction, ConvDirection::direction, DType::dtype, #type),
#include "cuda/conv/conv_kernels.inc"
  };
}

ConvPlan plan_direct_conv(const ConvProblem& problem) {
  return plan_conv(problem, known_devices[0], "direct");
}

ConvPlan plan_conv(const ConvProblem& problem, const DeviceCaps& device,
                   const std::string& forced) {
  require_floating_point(problem.dtype);
  const std::vector<ConvKernelInfo>& table = cached_table(device.arch);
  const LayoutPass as_given{.problem = problem}, to_tensor_cores = pack_groups(problem, device);
  std::vector<Candidate> candidates;
  for (size_t i = 0; i < table.size(); ++i) {
    const ConvKernelInfo& row = table[i];
    if (row.family == ConvKernelFamily::ladder && row.name != forced) continue;  // for readers
    // Of SIMT's rows and the rungs one says that it computes float32; other rows have twins.
    const bool has_twins =
        row.family != ConvKernelFamily::simt && row.family != ConvKernelFamily::ladder;
    if (row.direction == problem.direction && (row.any_layout || row.layout == problem.layout) &&
        (!has_twins || row.dtype == problem.dtype))
      candidates.push_back({row.name, static_cast<int>(i), &row,
                            is_mma(row.family) ? &to_tensor_cores : &as_given, !forced.empty()});
  }
  ConvPlan plan;
  const size_t chosen =
      choose(std::span<const Candidate>(candidates), problem, device, forced, &plan.refusals);
  const ConvKernelInfo& kernel = *candidates[chosen].info;
  plan.pass = *candidates[chosen].pass;
  plan.workspace_bytes = plan.pass.workspace_bytes;
  plan.kernel = kernel.name;
  plan.index = candidates[chosen].index;
  plan.tile = kernel.tile;
  plan.threads = kernel.threads;
  plan.shared_bytes = kernel.shared_bytes;
  plan.symbol = kernel.symbol;
  plan.tf32 = kernel.rounds_to_tf32();
  switch (kernel.family) {
    case ConvKernelFamily::direct: plan_direct(problem, plan); break;
    case ConvKernelFamily::depthwise: plan_depthwise(problem, device, kernel.vector, plan); break;
    case ConvKernelFamily::winograd: plan_winograd(problem, device, plan); break;
    case ConvKernelFamily::winograd_4x4: plan_winograd_4x4(problem, device, plan); break;
    case ConvKernelFamily::ladder: plan_ladder(problem, plan); break;
    default: plan_gemm(kernel, plan.pass.problem, device, plan);
  }
  if (plan.pass.any()) plan.why = sentence(to_string(plan.pass, problem), "; ", plan.why);
  return plan;
}

std::vector<std::string> conv_kernels_for(const ConvProblem& problem, const DeviceCaps& device) {
  std::vector<std::string> names;
  for (const ConvKernelInfo& row : cached_table(device.arch))
    if (row.family != ConvKernelFamily::ladder && row.family != ConvKernelFamily::direct &&
        row.direction == problem.direction && row.dtype == problem.dtype &&
        (row.any_layout || row.layout == problem.layout) &&
        std::ranges::find(names, row.name) == names.end())
      names.push_back(row.name);
  return names;
}

}  // namespace cnnkern
