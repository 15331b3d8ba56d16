// The gathered operand of every convolution: pixels of an image seen through a filter's taps.
//
// An element is named by a pixel (which image, where the window stands) and by a tap (which
// channel, how far from the window's corner). Both are points with an offset in memory, and the
// element's address is the sum of the two offsets; it is read only if the sum of the coordinates
// lies inside the image, else it is padding and counts as zero. So the inner loop adds and
// compares: borders are masks, and no padded copy exists. Indices past the end of the GEMM become
// points far outside.
//   fprop: input, windows of the output's pixels, rows = pixels, depth = (taps × channels)
//   dgrad: the output's gradient, one stride class of input pixels; see dgrad.cu
//   wgrad: input, as fprop with rows = (taps × channels), depth = pixels
// Offsets are 64-bit; indices of pixels and taps are 31-bit and split by FastDivmod.
#pragma once

#include "common/fast_divmod.h"
#include "cuda/conv/tile_loader.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

struct Index3 {
  int d, h, w;
};

inline Index3 narrow(const Extent3& extent) {
  return {static_cast<int>(extent.d), static_cast<int>(extent.h), static_cast<int>(extent.w)};
}

inline constexpr int far_outside = -(1 << 30);  // two of them still do not overflow

struct GatherPoint {
  int64_t offset;  // elements
  int d, h, w;

  /// This point, or one outside of every image: a choice, which costs less than a branch.
  __device__ __forceinline__ GatherPoint only_if(bool exists) const {
    return {offset, exists ? d : far_outside, h, w};
  }
};

/// Splits a pixel index into image and coordinates, and a depth index into channel and tap: in
/// the order in which the tensors lie, so that neighbours in the index are neighbours in memory.
struct PixelSplitter {
  FastDivmod d, h, w;

  __device__ __forceinline__ int split(int index, Index3& at) const {
    index = w.divmod(index, at.w);
    index = h.divmod(index, at.h);
    return d.divmod(index, at.d);
  }

  __device__ __forceinline__ int image(int index) const {
    return d.divide(h.divide(w.divide(index)));
  }
};

inline PixelSplitter splitter(const Extent3& extent) {
  return {FastDivmod(extent.d), FastDivmod(extent.h), FastDivmod(extent.w)};
}

/// The filter order: (k, c, t, r, s) in N C D H W, (k, t, r, s, c) in channels last.
template <Layout layout>
struct TapSplitter {
  FastDivmod channels;
  PixelSplitter taps;

  /// Returns the channel.
  __device__ __forceinline__ int split(int index, Index3& tap) const {
    if constexpr (layout == Layout::nchw) return taps.split(index, tap);
    int channel;
    index = channels.divmod(index, channel);
    index = taps.w.divmod(index, tap.w);
    tap.d = taps.h.divmod(index, tap.h);
    return channel;
  }
};

/// How the image lies that is gathered from; strides in elements.
struct GatherSource {
  Index3 extent;
  int64_t image_stride, channel_stride, pixel_stride;

  __device__ __forceinline__ GatherPoint point(int image, int channel, Index3 at) const {
    const int64_t pixel = (static_cast<int64_t>(at.d) * extent.h + at.h) * extent.w + at.w;
    return {image * image_stride + channel * channel_stride + pixel * pixel_stride, at.d, at.h,
            at.w};
  }

  __device__ __forceinline__ static GatherPoint outside() { return {0, far_outside, 0, 0}; }

  /// `base`: the group's first channel of the first image.
  template <class Element>
  __device__ __forceinline__ Access<Element> access(const Element* base, const GatherPoint& a,
                                                    const GatherPoint& b) const {
    const bool valid = static_cast<unsigned>(a.d + b.d) < static_cast<unsigned>(extent.d) &&
                       static_cast<unsigned>(a.h + b.h) < static_cast<unsigned>(extent.h) &&
                       static_cast<unsigned>(a.w + b.w) < static_cast<unsigned>(extent.w);
    return {base + (valid ? a.offset + b.offset : 0), valid};
  }
};

inline GatherSource gather_source(Layout layout, int64_t channels, const Extent3& extent) {
  const int64_t volume = extent.volume();
  const bool channels_last = layout == Layout::nhwc;
  return {narrow(extent), channels * volume, channels_last ? 1 : volume,
          channels_last ? channels : 1};
}

/// A convolution's input seen from its output: pixels are windows, taps are filter elements.
template <Layout layout>
struct InputWindows {
  GatherSource source;
  PixelSplitter windows;
  TapSplitter<layout> filter;
  Index3 stride, dilation, pad;
  int pixels, elements;

  explicit InputWindows(const ConvProblem& p)
      : source(gather_source(layout, p.c, p.input)),
        windows(splitter(p.output)),
        filter{FastDivmod(p.c_per_group()), splitter(p.filter)},
        stride(narrow(p.stride)),
        dilation(narrow(p.dilation)),
        pad(narrow(p.pad_begin)),
        pixels(static_cast<int>(p.n * p.output.volume())),
        elements(static_cast<int>(p.c_per_group() * p.filter.volume())) {}

  __device__ __forceinline__ GatherPoint pixel(int index) const {
    Index3 at;
    const int image = windows.split(index, at);
    return source
        .point(image, 0,
               {at.d * stride.d - pad.d, at.h * stride.h - pad.h, at.w * stride.w - pad.w})
        .only_if(index < pixels);
  }

  /// Channels count from the group's first.
  __device__ __forceinline__ GatherPoint tap(int index) const {
    Index3 at;
    const int channel = filter.split(index, at);
    return source.point(0, channel, {at.d * dilation.d, at.h * dilation.h, at.w * dilation.w})
        .only_if(index < elements);
  }
};

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
