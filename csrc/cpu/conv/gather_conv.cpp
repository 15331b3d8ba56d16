#include "cpu/conv/gather_conv.h"

#include <algorithm>

namespace cnnkern::cpu {
namespace {

// The pixels along one axis and the taps that reach them.
struct Axis {
  int64_t size = 0, step = 1;
  std::vector<int64_t> taps, offsets;
};

Axis fprop_axis(const ConvProblem& p, int axis) {
  Axis result{p.output[axis], p.stride[axis], {}, {}};
  for (int64_t tap = 0; tap < p.filter[axis]; ++tap) {
    result.taps.push_back(tap);
    result.offsets.push_back(tap * p.dilation[axis] - p.pad_begin[axis]);
  }
  return result;
}

// Input coordinates residue + stride·j. Tap t meets them at output j + (residue + pad − t·dilation)
// / stride, if that is a whole number.
Axis dgrad_axis(const ConvProblem& p, int axis, int64_t residue) {
  const int64_t stride = p.stride[axis];
  Axis result{(p.input[axis] - residue + stride - 1) / stride, 1, {}, {}};
  for (int64_t tap = p.filter[axis] - 1; tap >= 0; --tap) {  // so that offsets ascend
    const int64_t distance = residue + p.pad_begin[axis] - tap * p.dilation[axis];
    if (distance % stride != 0) continue;
    result.taps.push_back(tap);
    result.offsets.push_back(distance / stride);
  }
  return result;
}

// `channels` are those that one tap reads.
std::vector<Tap> combine(const Axis (&axes)[3], const Strides& source, int64_t channels,
                         const Strides& filter) {
  std::vector<Tap> taps;
  for (size_t t = 0; t < axes[0].taps.size(); ++t)
    for (size_t r = 0; r < axes[1].taps.size(); ++r)
      for (size_t s = 0; s < axes[2].taps.size(); ++s) {
        const int64_t d = axes[0].offsets[t], h = axes[1].offsets[r], w = axes[2].offsets[s];
        taps.push_back({static_cast<int32_t>(d), static_cast<int32_t>(h), static_cast<int32_t>(w),
                        source.at(0, 0, d, h, w),
                        filter.at(0, 0, axes[0].taps[t], axes[1].taps[r], axes[2].taps[s])});
      }
  for (size_t i = taps.size(); i-- > 1;) {
    const Tap &tap = taps[i - 1], &next = taps[i];
    const bool same_row = tap.d == next.d && tap.h == next.h && tap.w + 1 == next.w;
    if (same_row && tap.source + channels == next.source) taps[i - 1].run = next.run + 1;
  }
  return taps;
}

Gather make_gather(const void* source, const Strides& strides, const Extent3& extent,
                   int64_t images, int64_t channels, const Axis (&axes)[3],
                   const std::vector<Tap>& taps) {
  Gather gather{source,
                strides,
                extent,
                images,
                channels,
                {axes[0].size, axes[1].size, axes[2].size},
                {axes[0].step, axes[1].step, axes[2].step},
                taps.data(),
                static_cast<int64_t>(taps.size())};
  for (int axis = 0; axis < 3; ++axis) {
    const std::vector<int64_t>& offsets = axes[axis].offsets;  // ascending
    gather.taps_along[axis] = static_cast<int64_t>(offsets.size());
    if (!offsets.empty()) gather.lowest[axis] = offsets.front();
    if (!offsets.empty()) gather.highest[axis] = offsets.back();
  }
  return gather;
}

}  // namespace

void for_each_gather(const ConvProblem& p, const ConvTensors& tensors,
                     const std::function<void(const GatherConv&)>& run) {
  const Strides in = dense_strides(p.layout, p.c, p.input);
  const Strides out = dense_strides(p.layout, p.k, p.output);
  const Strides filter = dense_strides(p.layout, p.c_per_group(), p.filter);
  const int64_t group = p.k_per_group() * filter.n;
  if (p.direction == ConvDirection::fprop) {
    const Axis axes[3] = {fprop_axis(p, 0), fprop_axis(p, 1), fprop_axis(p, 2)};
    const std::vector<Tap> taps = combine(axes, in, p.c_per_group(), filter);
    run({p.dtype, p.layout,
         make_gather(tensors.input, in, p.input, p.n, p.c_per_group(), axes, taps), p.groups,
         p.k_per_group(), tensors.weight, group, filter.n, filter.c, tensors.bias, tensors.output,
         0, out, p.activation, tensors.residual, tensors.preactivation, tensors.packed});
    return;
  }
  Strides dest = in;
  for (int axis = 0; axis < 3; ++axis) dest.space[axis] *= p.stride[axis];
  for (int64_t d = 0; d < std::min(p.stride.d, p.input.d); ++d)
    for (int64_t h = 0; h < std::min(p.stride.h, p.input.h); ++h)
      for (int64_t w = 0; w < std::min(p.stride.w, p.input.w); ++w) {
        const Axis axes[3] = {dgrad_axis(p, 0, d), dgrad_axis(p, 1, h), dgrad_axis(p, 2, w)};
        const std::vector<Tap> taps = combine(axes, out, p.k_per_group(), filter);
        run({p.dtype, p.layout,
             make_gather(tensors.output, out, p.output, p.n, p.k_per_group(), axes, taps), p.groups,
             p.c_per_group(), tensors.weight, group, filter.c, filter.n, tensors.bias,
             tensors.input, in.at(0, 0, d, h, w), dest});
      }
}

GatherClasses gather_classes(const ConvProblem& p, const ConvTensors& tensors) {
  GatherClasses all;
  const bool dgrad = p.direction == ConvDirection::dgrad;
  all.extent = dgrad ? p.input : p.output;
  for (int axis = 0; axis < 3 && dgrad; ++axis)
    all.classes[axis] = std::min(p.stride[axis], p.input[axis]);
  for_each_gather(p, tensors, [&](GatherConv conv) {
    const Gather& gather = conv.gather;
    all.taps.emplace_back(gather.taps, gather.taps + gather.tap_count);
    conv.gather.taps = all.taps.back().data();
    all.parts.push_back(conv);
  });
  return all;
}

ReduceConv make_reduce(const ConvProblem& p, const ConvTensors& tensors, std::vector<Tap>& taps) {
  const Strides in = dense_strides(p.layout, p.c, p.input);
  const Strides out = dense_strides(p.layout, p.k, p.output);
  const Strides filter = dense_strides(p.layout, p.c_per_group(), p.filter);
  const Axis axes[3] = {fprop_axis(p, 0), fprop_axis(p, 1), fprop_axis(p, 2)};
  taps = combine(axes, in, p.c_per_group(), filter);
  static const Tap centre = {};
  Gather gradient{tensors.output, out, p.output, p.n, p.k_per_group(), p.output, {}, &centre, 1};
  return {p.dtype,
          p.layout,
          gradient,
          make_gather(tensors.input, in, p.input, p.n, p.c_per_group(), axes, taps),
          p.groups,
          tensors.weight,
          p.k_per_group() * filter.n,
          filter.n,
          filter.c};
}

}  // namespace cnnkern::cpu
