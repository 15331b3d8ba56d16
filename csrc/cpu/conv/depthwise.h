// What depthwise convolution has in common in both layouts: each channel is filtered by itself, so
// there is no GEMM; a filter slides.
//
// Taps that read one output's distance apart make a run: what tap i of output j reads, tap i + 1 of
// output j − 1 reads too. So a few outputs are computed together, and every vector that is read
// serves up to as many taps as the run has. In nhwc lanes are channels and a run lies along w
// (depthwise_pixels.h), in nchw too if planes fit a cache (depthwise_small_planes.h); of other
// planes lanes lie along w and a run along h (depthwise_planes.h).
// Source: register blocking of sliding windows, as in Zhang et al., "High performance depthwise and
// pointwise convolutions on mobile devices" (2020).
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "cpu/conv/plane_block.h"

namespace cnnkern::cpu::CNNKERN_CPU_ISA {

/// Reads the first `count` lanes; all of them if `whole`.
template <class A, bool whole>
struct LaneReader {
  int64_t count;

  template <class T>
  Vec<A> operator()(const T* from) const {
    if constexpr (whole) return load<A>(from);
    else return load_partial<A>(from, count);
  }
};

/// body(reader) for the first `count` lanes.
template <class A, class Body>
inline void with_reader(int64_t count, Body&& body) {
  if (count == lanes<A>) body(LaneReader<A, true>{count});
  else body(LaneReader<A, false>{count});
}

/// Taps of a filter, as element offsets: the first one's source and weight, and their number.
struct Run {
  int64_t source, weight, taps;
};

inline constexpr int64_t longest_run = 4;  // whose weights fit the registers beside the sums

/// How many taps further on a tap reads one output's `step` further on, if taps read `offsets`;
/// their number, so that each is alone, if none does.
inline int64_t run_hop(int64_t step, int64_t first_offset, int64_t second_offset, int64_t taps) {
  const int64_t apart = second_offset - first_offset;
  return taps > 1 && step % apart == 0 ? step / apart : taps;
}

/// The taps of a gather along w, and `hop` for them.
struct TapsAlongW {
  int64_t count, hop;

  explicit TapsAlongW(const Gather& g)
      : count(g.tap_count > 0 ? g.taps_along.w : 0),
        hop(run_hop(g.step.w, count > 1 ? g.taps[0].w : 0, count > 1 ? g.taps[1].w : 0, count)) {}
};

/// body(first tap, taps) for the runs that so many taps make, `hop` taps apart.
template <class Body>
inline void for_each_run(int64_t taps, int64_t hop, Body&& body) {
  for (int64_t first = 0; first < std::min(hop, taps); ++first)
    for (int64_t tap = first; tap < taps; tap += longest_run * hop)
      body(tap, std::min(longest_run, ceil_div(taps - tap, hop)));
}

/// Runs by their length: a loop for each, so that its sums stay in registers.
struct Runs {
  std::vector<Run> of_length[longest_run];  // at length − 1

  void add(const Run& run) { of_length[run.taps - 1].push_back(run); }
  void clear() {
    for (std::vector<Run>& runs : of_length) runs.clear();
  }
  template <class Body>
  void for_each(Body&& body) const {
    for (const std::vector<Run>& runs : of_length)
      for (const Run& run : runs) body(run);
  }
};

/// body(constant) with the number of a run's taps.
template <class Body>
inline void with_taps(int64_t taps, Body&& body) {
  if (taps == 3) body(std::integral_constant<int, 3>());
  else if (taps == 4) body(std::integral_constant<int, 4>());
  else if (taps == 2) body(std::integral_constant<int, 2>());
  else body(std::integral_constant<int, 1>());
}

/// The channels of a layer in vectors. The last one moves back to end with them, and what it does
/// twice comes out the same; only fewer channels than lanes leave lanes empty.
template <class A>
struct ChannelVectors {
  int64_t channels, count, size;  // count vectors, of which `size` lanes take part

  explicit ChannelVectors(int64_t c)
      : channels(c), count(ceil_div(c, lanes<A>)), size(std::min<int64_t>(c, lanes<A>)) {}

  int64_t first(int64_t vector) const { return std::min(vector * lanes<A>, channels - size); }
};

inline std::vector<Gather> gathers_of(std::span<const GatherConv> parts) {
  std::vector<Gather> result;
  for (const GatherConv& part : parts) result.push_back(part.gather);
  return result;
}

/// The weights of a layer whose channels have one filter each, as [channel vector][tap][lane].
template <class T, class A = accumulator_t<T>>
std::unique_ptr<Buffer<A>> pack_channels(const GatherConv& conv,
                                         const ChannelVectors<A>& channels) {
  auto packed = std::make_unique<Buffer<A>>(channels.count * conv.gather.tap_count * lanes<A>);
  A* to = packed->get();
  for (int64_t v = 0; v < channels.count; ++v)
    for (int64_t t = 0; t < conv.gather.tap_count; ++t, to += lanes<A>) {
      const T* const from = static_cast<const T*>(conv.weight) + conv.gather.taps[t].weight;
      for (int64_t i = 0; i < lanes<A>; ++i)
        to[i] = i < channels.size
                    ? static_cast<A>(from[(channels.first(v) + i) * conv.weight_group])
                    : A(0);
    }
  return packed;
}

/// sums[j] += Σ over i of weights[i] · value_at(i + j).
template <int taps, int outputs, class A, class V, class ValueAt>
inline void slide(const ValueAt& value_at, const A* weights, int64_t weight_pitch,
                  V (&sums)[outputs]) {
  Vec<A> weight[taps];
#pragma GCC unroll 4
  for (int i = 0; i < taps; ++i) weight[i] = load<A>(weights + i * weight_pitch);
#pragma GCC unroll 16
  for (int at = 0; at < outputs + taps - 1; ++at) {
    const Vec<A> value = in_register(value_at(at));
#pragma GCC unroll 4
    for (int i = 0; i < taps; ++i)
      if (at - i >= 0 && at - i < outputs) sums[at - i] = fma<A>(value, weight[i], sums[at - i]);
  }
}

/// The same of all runs, longest first, for a few vectors: value_at(run, vector, i + j).
template <int taps = longest_run, int vectors, int outputs, class A, class V, class ValueAt>
inline void slide_all(const Runs& runs, const ValueAt& value_at, const A* weights,
                      int64_t weight_pitch, int64_t vector_pitch, V (&sums)[vectors][outputs]) {
  if (!runs.of_length[taps - 1].empty()) {
    V own[vectors][outputs];  // a copy, since these stay in registers
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v)
#pragma GCC unroll 8
      for (int i = 0; i < outputs; ++i) own[v][i] = sums[v][i];
    for (const Run& run : runs.of_length[taps - 1])
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v)
        slide<taps>([&](int at) { return value_at(run, v, at); },
                    weights + run.weight + v * vector_pitch, weight_pitch, own[v]);
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v)
#pragma GCC unroll 8
      for (int i = 0; i < outputs; ++i) sums[v][i] = own[v][i];
  }
  if constexpr (taps > 1)
    slide_all<taps - 1>(runs, value_at, weights, weight_pitch, vector_pitch, sums);
}

/// sums[i] += Σ over j of factor[j] · from[(i + j) · pitch].
template <int outputs, int taps, class A, class T, class Reader>
[[gnu::always_inline]] inline void slide_reduce(const Reader& read, const Vec<A> (&factor)[outputs],
                                                const T* from, int64_t pitch,
                                                Vec<A> (&sums)[taps]) {
#pragma GCC unroll 8
  for (int at = 0; at < outputs + taps - 1; ++at) {
    const Vec<A> value = in_register(read(from + at * pitch));
#pragma GCC unroll 4
    for (int i = 0; i < taps; ++i)
      if (at - i >= 0 && at - i < outputs) sums[i] = fma<A>(value, factor[at - i], sums[i]);
  }
}

/// The same with factor[j] = gradient[j · gradient_pitch].
template <int outputs, int taps, class A, class T, class U, class Reader>
inline void slide_reduce(const Reader& read, const T* gradient, int64_t gradient_pitch,
                         const U* from, int64_t pitch, Vec<A> (&sums)[taps]) {
  Vec<A> factor[outputs];
#pragma GCC unroll 4
  for (int j = 0; j < outputs; ++j) factor[j] = read(gradient + j * gradient_pitch);
  slide_reduce<outputs, taps, A>(read, factor, from, pitch, sums);
}

/// body(constant, first) for [0, end) in blocks, the last of which moves back to end there: it does
/// a few again. One by one where there is no block.
template <int block, class Body>
inline void in_blocks(int64_t end, Body&& body) {
  if (end >= block)
    for (int64_t at = 0; at < end; at += block)
      body(std::integral_constant<int, block>(), std::min(at, end - block));
  else
    for (int64_t at = 0; at < end; ++at) body(std::integral_constant<int, 1>(), at);
}

/// body(constant, first) for [begin, end) in blocks of 4, then 2, then 1.
template <class Body>
inline void in_fours(int64_t begin, int64_t end, Body&& body) {
  for (; begin + 4 <= end; begin += 4) body(std::integral_constant<int, 4>(), begin);
  if (begin + 2 <= end) {
    body(std::integral_constant<int, 2>(), begin);
    begin += 2;
  }
  if (begin < end) body(std::integral_constant<int, 1>(), begin);
}

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
