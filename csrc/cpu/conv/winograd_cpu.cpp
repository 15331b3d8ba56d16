#include "cpu/conv/winograd_cpu.h"

#include <algorithm>

#include "common/winograd_allowed.h"
#include "cpu/conv/gather_conv.h"

namespace cnnkern::cpu {

#define CNNKERN_DECLARE_WINOGRAD(isa)                                                   \
  namespace isa {                                                                       \
  void winograd(const GatherConv& conv, const ParallelFor& parallel);                   \
  int64_t winograd_pack(const GatherConv& conv, void* to, const ParallelFor& parallel); \
  void winograd_wgrad(const ReduceConv& conv, const ParallelFor& parallel);             \
  }
CNNKERN_DECLARE_WINOGRAD(scalar)
CNNKERN_DECLARE_WINOGRAD(avx2)
CNNKERN_DECLARE_WINOGRAD(avx512)

std::string refuse_winograd(const ConvProblem& p, const Isa&) {
  // The error grows with the square root of the channels: it is 5e-6 of the result at 512, and the
  // bound is 1e-5.
  constexpr int64_t least_channels = 16, most_channels = 1024;
  constexpr int64_t least_wgrad_pairs = 512;
  const auto number = [](int64_t value) { return std::to_string(value); };
  if (!winograd_allowed()) return winograd_switched_off;
  if (p.dtype != DType::float32)
    return std::string("it computes float32, this problem is ") + to_string(p.dtype);
  const Extent3 three{1, 3, 3}, ones{1, 1, 1};
  if (p.filter != three || p.stride != ones || p.dilation != ones || p.input.d + p.output.d != 2)
    return "it takes planes and 3x3 filters of stride and dilation 1";
  const int64_t c = p.c_per_group(), k = p.k_per_group();
  if (std::min(c, k) < least_channels)
    return number(std::min(c, k)) + " channels a group are too few to pay for the transforms, " +
           number(least_channels) + " do";
  if (std::max(c, k) > most_channels)
    return number(std::max(c, k)) + " channels a group round too often, up to " +
           number(most_channels) + " keep the bound of the error";
  const Extent3& grid = p.direction == ConvDirection::dgrad ? p.input : p.output;
  // Along an axis, m outputs of a tile take m + 2 products instead of 3 m.
  const auto products = [](int64_t outputs) { return outputs + (outputs + 3) / 4 * 2; };
  if (2 * products(grid.h) * products(grid.w) > 9 * grid.volume())
    return "tiles on a plane of " + number(grid.h) + "x" + number(grid.w) +
           " save less than half of the products";
  const int64_t tiles = p.n * ((grid.h + 3) / 4) * ((grid.w + 3) / 4);
  const int64_t least_tiles = p.direction == ConvDirection::wgrad ? 16 : 4;
  if (tiles < least_tiles)
    return number(tiles) + " tiles are too few to pay for the weights' transform, " +
           number(least_tiles) + " do";
  if (p.direction != ConvDirection::wgrad) return {};
  if (c * k < least_wgrad_pairs)
    return number(c) + " channels of " + number(k) +
           " filters are too few to pay for the transforms of both, pairs of 16 and 32 do";
  return {};
}

int64_t pack_winograd(const ConvProblem& problem, const ConvTensors& tensors, void* to, Isa isa,
                      const ParallelFor& parallel) {
  // They are four times the weights: 36 MiB for 512 filters of 512 channels.
  constexpr int64_t most_bytes = int64_t{40} << 20;
  int64_t (*pack)(const GatherConv&, void*, const ParallelFor&) = scalar::winograd_pack;
#if defined(__x86_64__)
  if (isa == Isa::avx2) pack = avx2::winograd_pack;
  if (isa == Isa::avx512) pack = avx512::winograd_pack;
#endif
  int64_t bytes = 0;
  for_each_gather(problem, tensors, [&](const GatherConv& conv) {
    bytes = pack(conv, nullptr, parallel);
    if (bytes > most_bytes) bytes = 0;
    else if (to) pack(conv, to, parallel);
  });
  return bytes;
}

void run_winograd(const ConvProblem& problem, const ConvTensors& tensors, Isa isa,
                  const ParallelFor& parallel) {
  void (*kernel)(const GatherConv&, const ParallelFor&) = scalar::winograd;
  void (*wgrad)(const ReduceConv&, const ParallelFor&) = scalar::winograd_wgrad;
#if defined(__x86_64__)
  if (isa == Isa::avx2) kernel = avx2::winograd, wgrad = avx2::winograd_wgrad;
  if (isa == Isa::avx512) kernel = avx512::winograd, wgrad = avx512::winograd_wgrad;
#endif
  if (problem.direction == ConvDirection::wgrad) {
    std::vector<Tap> taps;
    return wgrad(make_reduce(problem, tensors, taps), parallel);
  }
  for_each_gather(problem, tensors, [&](const GatherConv& conv) { kernel(conv, parallel); });
}

}  // namespace cnnkern::cpu
