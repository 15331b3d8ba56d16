#include "cuda/conv/depthwise_plan.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "common/ceil_div.h"
#include "common/sentence.h"

namespace cnnkern {
namespace {

constexpr int64_t max_staged_bytes = 40 << 10;
constexpr int64_t max_workspace_bytes = int64_t{64} << 20;
constexpr int64_t max_grid_yz = 65535;

int64_t power_of_two(int64_t least) {
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(least, 1))));
}

int64_t accumulator_bytes(DType dtype) { return dtype == DType::float64 ? 8 : 4; }

const char* type_name(DType dtype) {
  switch (dtype) {
    case DType::float32: return "float";
    case DType::float64: return "double";
    case DType::float16: return "cnnkern::float16";
    default: return "cnnkern::bfloat16";
  }
}

bool is_wgrad(const ConvProblem& p) { return p.direction == ConvDirection::wgrad; }

int64_t result_channels(const ConvProblem& p) {
  return p.direction == ConvDirection::dgrad ? p.c : p.k;
}

/// Filters that are summed into one channel of the result.
int64_t summed_filters(const ConvProblem& p) {
  return p.direction == ConvDirection::dgrad ? p.k_per_group() : 1;
}

/// A block's vectors of channels: 8 of 16 bytes are a line of the cache. Fewer where the last block
/// of channels would be emptier, or where the staged weights ask it.
int64_t channel_lanes(const ConvProblem& p, int vector) {
  const int64_t vectors = ceil_div(result_channels(p), vector);
  int64_t lanes = std::min<int64_t>(vector > 1 ? 8 : 32, power_of_two(vectors));
  if (vector > 1 && lanes == 8 && 4 * vectors <= 3 * ceil_div(vectors, 8) * 8) lanes = 4;
  const int64_t bytes_a_lane =
      vector * summed_filters(p) * p.filter.volume() * accumulator_bytes(p.dtype);
  while (!is_wgrad(p) && lanes > 1 && lanes * bytes_a_lane > max_staged_bytes) lanes /= 2;
  return lanes;
}

/// The rows of taps that the channels-last kernels unroll: (taps, stride), dense.
bool unrolled(int64_t taps, int64_t step) {
  return (step == 1 && (taps == 3 || taps == 5 || taps == 7)) || (step == 2 && taps == 3);
}

/// Rows of a plane as vectors: the taps on each side of the middle, 0 if no kernel has so many.
int row_halo(const DepthwiseAxis& w) {
  const DepthwiseAxis::Class& only = w.classes[0];
  for (const int halo : {1, 3}) {
    const int last = only.start + (only.taps - 1) * w.source_tap_step;
    if (only.start >= -halo && last <= halo &&
        (w.source_step == 1 || (w.source_step == 2 && halo == 1)))
      return halo;
  }
  return 0;
}

std::string refuse_vectors(const ConvProblem& p, int vector) {
  const int64_t multiplier = p.k_per_group();
  if (p.layout == Layout::nhwc) {
    if (multiplier > 1)
      return sentence("pairs ", vector, " channels with as many filters, but each has ",
                      multiplier);
    if (p.c % vector != 0)
      return sentence("loads ", vector, " channels at a time, but C = ", p.c, " is no multiple of ",
                      vector);
    return "";
  }
  const DepthwiseAxis w(p, 2);
  if (p.direction == ConvDirection::dgrad && p.stride != Extent3{})
    return sentence("makes gradients of stride 1, but the stride is ", p.stride.d, " x ",
                    p.stride.h, " x ", p.stride.w);
  if (w.result_extent % vector != 0 || w.source_extent % vector != 0)
    return sentence("loads ", vector, " pixels of a row at a time, but rows of ", w.source_extent,
                    " and ", w.result_extent, " are no multiples of ", vector);
  if (row_halo(w) == 0)
    return sentence("reads 1 pixel on each side of its own (3 at stride 1), but taps lie from ",
                    w.classes[0].start, " to ",
                    w.classes[0].start + (w.classes[0].taps - 1) * w.source_tap_step, " at stride ",
                    w.source_step);
  return "";
}

void shape_wgrad(const ConvProblem& p, int splits, DepthwiseShape& shape) {
  const char* const type = type_name(p.dtype);
  const int64_t accumulator = accumulator_bytes(p.dtype);
  if (p.layout == Layout::nchw) {
    shape.taps = depthwise_strip;
    shape.unit_groups = p.filter.d * p.filter.h * ceil_div(p.filter.w, shape.taps);
    shape.grid = {p.k * shape.unit_groups, splits, 1};
    shape.shared_bytes = depthwise_threads / 32 * shape.taps * accumulator;
    shape.symbol = sentence("depthwise_wgrad_planes<", type, ">");
    return;
  }
  const bool dense = shape.vector > 1 && p.dilation.w == 1 && unrolled(p.filter.w, p.stride.w);
  shape.taps = static_cast<int>(dense ? p.filter.w : 1);
  shape.step = static_cast<int>(dense ? p.stride.w : 0);
  shape.lanes = static_cast<int>(channel_lanes(p, shape.vector));
  const int64_t units = p.filter.volume() / shape.taps;
  shape.threads = depthwise_wgrad_threads;
  shape.units = static_cast<int>(std::min<int64_t>(units, shape.threads / shape.lanes));
  shape.parts = shape.threads / shape.lanes / shape.units;
  shape.unit_groups = ceil_div(units, shape.units);
  shape.grid = {ceil_div(p.k, shape.lanes * shape.vector), splits, shape.unit_groups};
  shape.shared_bytes = shape.taps * (shape.threads * shape.vector * accumulator + 16);
  shape.symbol = sentence("depthwise_wgrad_pixels<", type, ", ", shape.vector, ", ", shape.taps,
                          ", ", shape.step, ">");
}

/// A block: 8 vectors of channels, 8 strips, 4 rows where there are as many. Neighbouring rows read
/// the same rows of the source, which the block's cache then holds.
void shape_pixels(const ConvProblem& p, const std::array<DepthwiseAxis, 3>& axes,
                  DepthwiseShape& shape) {
  const DepthwiseAxis& w = axes[2];
  const bool dense = shape.vector > 1 && w.class_count == 1 && w.source_tap_step == 1 &&
                     unrolled(w.classes[0].taps, w.source_step);
  shape.taps = dense ? w.classes[0].taps : 0;
  shape.step = dense ? w.source_step : 0;
  const int64_t lanes = channel_lanes(p, shape.vector);
  const int64_t slots = depthwise_threads / lanes;
  const int64_t strips = ceil_div(w.classes[0].count, depthwise_strip);
  const int64_t height = power_of_two(axes[1].classes[0].count);
  int64_t rows = std::min<int64_t>(height, 4);
  const int64_t columns =
      std::min({power_of_two(strips), slots / rows, std::max(slots / height, int64_t{8})});
  rows = std::max(std::min(height, slots / columns), ceil_div(32, lanes * columns));
  shape.lanes = static_cast<int>(lanes), shape.strips = static_cast<int>(columns);
  shape.rows = static_cast<int>(rows);
  shape.threads = static_cast<int>(lanes * columns * rows);
  shape.grid[0] = p.n * axes[0].classes[0].count * ceil_div(axes[1].classes[0].count, rows) *
                  ceil_div(strips, columns) * ceil_div(result_channels(p), lanes * shape.vector);
  shape.shared_bytes =
      lanes * shape.vector * summed_filters(p) * p.filter.volume() * accumulator_bytes(p.dtype);
  shape.symbol = sentence("depthwise_pixels<", type_name(p.dtype), ", ", shape.vector, ", ",
                          shape.taps, ", ", shape.step, ">");
}

void shape_planes(const ConvProblem& p, const std::array<DepthwiseAxis, 3>& axes,
                  DepthwiseShape& shape) {
  const auto count = [&](int axis) -> int64_t { return axes[axis].classes[0].count; };
  int64_t makers = p.n * result_channels(p) * count(0);
  if (shape.vector > 1) {
    shape.taps = row_halo(axes[2]), shape.step = axes[2].source_step;
    makers *= count(1) * (count(2) / shape.vector);
    shape.symbol = sentence("depthwise_rows<", type_name(p.dtype), ", ", shape.vector, ", ",
                            shape.taps, ", ", shape.step, ">");
  } else {
    makers *= count(1) > 1 ? ceil_div(count(1), depthwise_strip) * count(2)
                           : ceil_div(count(2), depthwise_strip);
    shape.symbol = sentence("depthwise_points<", type_name(p.dtype), ">");
  }
  shape.grid[0] = ceil_div(makers, depthwise_threads);
}

}  // namespace

DepthwiseAxis::DepthwiseAxis(const ConvProblem& p, int axis) {
  const bool dgrad = p.direction == ConvDirection::dgrad;
  const auto narrow = [](int64_t value) { return static_cast<int>(value); };
  const int stride = narrow(p.stride[axis]), dilation = narrow(p.dilation[axis]);
  const int pad = narrow(p.pad_begin[axis]);
  filter_extent = narrow(p.filter[axis]);
  result_extent = narrow((dgrad ? p.input : p.output)[axis]);
  source_extent = narrow((dgrad ? p.output : p.input)[axis]);
  if (!dgrad) {
    result_step = 1, source_step = stride, tap_step = 1, source_tap_step = dilation;
    class_count = 1;
    classes[0] = {0, result_extent, -pad, 0, filter_extent};
    return;
  }
  const int common = std::gcd(stride, dilation);
  result_step = stride, source_step = 1;
  tap_step = -(stride / common), source_tap_step = dilation / common;
  class_count = std::min(stride, result_extent);
  for (int remainder = 0; remainder < class_count; ++remainder) {
    Class& found = classes[remainder];
    found = {remainder, (result_extent - 1 - remainder) / stride + 1, 0, 0, 0};
    for (int tap = 0; tap < std::min(-tap_step, filter_extent); ++tap) {
      const int distance = remainder + pad - tap * dilation;
      if (distance % stride != 0) continue;
      found.taps = (filter_extent - 1 - tap) / -tap_step + 1;
      found.first_tap = tap - (found.taps - 1) * tap_step;
      found.start = distance / stride - (found.taps - 1) * source_tap_step;
    }
  }
}

std::string refuse_depthwise(const ConvProblem& p, int vector) {
  if (p.c_per_group() != 1)
    return sentence("filters each channel by itself, but C/G = ", p.c_per_group());
  if (p.k == 0) return "filters each channel, but there are no filters";
  constexpr int64_t limit = int64_t{1} << 31, limit_coordinate = int64_t{1} << 28;
  const int64_t largest = std::max({p.input_elements(), p.output_elements(), p.weight_elements()});
  if (largest >= limit - (int64_t{1} << 24))
    return sentence("counts in 32 bits, but a tensor has ", largest, " elements");
  for (int axis = 0; axis < 3; ++axis) {
    const int64_t extent = p.input[axis] + p.pad_begin[axis] + p.pad_end[axis];
    if (std::max({extent, p.stride[axis], p.dilation[axis], p.output[axis]}) >= limit_coordinate)
      return sentence("keeps coordinates in 28 bits, but an axis has ", extent,
                      " elements with padding, stride ", p.stride[axis], " and dilation ",
                      p.dilation[axis]);
    if (p.direction == ConvDirection::dgrad &&
        std::min(p.stride[axis], p.input[axis]) > max_stride_classes)
      return sentence("knows ", max_stride_classes, " stride classes an axis, but the stride is ",
                      p.stride[axis]);
  }
  if (vector > 1)
    if (std::string reason = refuse_vectors(p, vector); !reason.empty()) return reason;
  if (is_wgrad(p)) {
    const DepthwiseShape shape = depthwise_shape(p, vector, 1);
    if (std::max(shape.grid[0], shape.unit_groups * max_grid_yz) < limit &&
        shape.grid[2] <= max_grid_yz)
      return "";
    return sentence("makes ", shape.grid[0], " x ", shape.grid[2],
                    " blocks, but a grid has at most ", limit - 1, " x ", max_grid_yz);
  }
  const int64_t staged =
      vector * summed_filters(p) * p.filter.volume() * accumulator_bytes(p.dtype);
  if (p.layout == Layout::nhwc && staged > max_staged_bytes)
    return sentence("stages ", summed_filters(p), " x ", p.filter.volume(), " weights of ", vector,
                    " channels in ", staged, " bytes of shared memory, but ", max_staged_bytes,
                    " are set aside for them");
  return "";
}

std::string yield_depthwise(const ConvProblem& p) {
  constexpr int64_t many_filters = 16, many_taps = 4;
  if (p.dtype != DType::float32 || p.direction == ConvDirection::dgrad ||
      p.k_per_group() < many_filters || p.filter.volume() < many_taps)
    return "";
  return sentence("each channel has ", p.k_per_group(),
                  " filters: a GEMM shares what it loads among them");
}

DepthwiseShape depthwise_shape(const ConvProblem& p, int vector, int splits) {
  DepthwiseShape shape;
  shape.vector = vector;
  if (is_wgrad(p)) {
    shape_wgrad(p, splits, shape);
    return shape;
  }
  const std::array<DepthwiseAxis, 3> axes = {DepthwiseAxis(p, 0), DepthwiseAxis(p, 1),
                                             DepthwiseAxis(p, 2)};
  (p.layout == Layout::nhwc ? shape_pixels : shape_planes)(p, axes, shape);
  shape.grid[1] = int64_t{1} * axes[0].class_count * axes[1].class_count * axes[2].class_count;
  return shape;
}

int depthwise_splits(const ConvProblem& p, int vector, const DeviceCaps& device) {
  if (!is_wgrad(p)) return 1;
  const DepthwiseShape shape = depthwise_shape(p, vector, 1);
  const bool channels_last = p.layout == Layout::nhwc;
  const int64_t blocks = std::max<int64_t>(shape.grid[0] * shape.grid[2], 1);
  const int64_t pixels = p.n * p.output.volume();
  const int64_t a_round = channels_last ? shape.parts * depthwise_strip : depthwise_threads;
  constexpr int64_t least_rounds = 4;
  const int64_t workspace_row = p.weight_elements() * accumulator_bytes(p.dtype);
  const int64_t splits =
      std::min({ceil_div(4 * device.multiprocessors, blocks), pixels / (a_round * least_rounds),
                max_workspace_bytes / std::max<int64_t>(workspace_row, 1), max_grid_yz});
  return static_cast<int>(std::max<int64_t>(splits, 1));
}

}  // namespace cnnkern
