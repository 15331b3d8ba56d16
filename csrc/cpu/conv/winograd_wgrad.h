// wgrad by Winograd's F(4×4, 3×3), the adjoint of the forward (winograd_transforms.h): at each of
// the 36 positions a GEMM, filters × channels, summed over tiles.
//
// A task is a block of the weight and a chunk of the tiles. It transforms patches to
// [position][panel of channels][tile][channel] and gradients to [position][tile][filter], tile_step
// tiles at a time, adds their products to sums [position][filter][channel] that stay in the cache,
// and turns the sums into filters at the end. Chunks exist where there are too few blocks for many
// threads; how many depends on the problem only, and they are summed in their order, so the result
// does not depend on the threads.
// Memory: the chunks (at most 16 small weights), and per thread 1.1 MiB.
#pragma once

#include "cpu/conv/winograd.h"

namespace cnnkern::cpu::CNNKERN_CPU_ISA {

template <Layout layout>
class WinogradReduce {
  static constexpr int64_t size = lanes<float>, block = 64, panels = block / panel_width;
  static constexpr int64_t tile_step = 28, least_chunk = 4 * tile_step, most_chunks = 16;
  // Between the positions of the three operands.
  static constexpr int64_t operand_step = tile_step * block + position_gap;
  static constexpr int64_t sum_step = block * block + position_gap;

 public:
  explicit WinogradReduce(const ReduceConv& conv)
      : conv_(conv),
        grid_(conv.patches),
        filters_(conv.gradient.channels),
        channels_(conv.patches.channels),
        filter_blocks_(ceil_div(filters_, block)),
        channel_blocks_(ceil_div(channels_, block)),
        blocks_(conv.groups * filter_blocks_ * channel_blocks_),
        weights_(conv.groups * conv.weight_group) {
    const int64_t tiles = grid_.count();
    const int64_t wanted = std::min(ceil_div(most_chunks, blocks_), ceil_div(tiles, least_chunk));
    chunk_ = ceil_div(ceil_div(tiles, wanted), tile_step) * tile_step;
    chunks_ = ceil_div(tiles, chunk_);
  }

  void run(const ParallelFor& parallel) const {
    auto* const weight = static_cast<float*>(conv_.weight);
    if (chunks_ == 1) return run_tasks(parallel, [=](int64_t) { return weight; });
    Buffer<float> partial(chunks_ * weights_);
    run_tasks(parallel, [&](int64_t chunk) { return partial.get() + chunk * weights_; });
    constexpr int64_t part = 1024;
    parallel(ceil_div(weights_, part), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * part; i < std::min(end * part, weights_); ++i) {
        float sum = partial[i];
        for (int64_t chunk = 1; chunk < chunks_; ++chunk) sum += partial[chunk * weights_ + i];
        weight[i] = sum;
      }
    });
  }

 private:
  // to_weight(chunk) says where the sums of a chunk go.
  template <class ToWeight>
  void run_tasks(const ParallelFor& parallel, const ToWeight& to_weight) const {
    parallel(blocks_ * chunks_, [&](int64_t begin, int64_t end) {
      Buffer<float> patches(winograd_positions * operand_step);
      Buffer<float> gradient(winograd_positions * operand_step);
      Buffer<float> sums(winograd_positions * sum_step);
      for (int64_t task = begin; task < end; ++task) {
        const int64_t chunk = task % chunks_, at = task / chunks_;
        const int64_t group = at / (filter_blocks_ * channel_blocks_);
        const int64_t filter = at / channel_blocks_ % filter_blocks_ * block;
        const int64_t channel = at % channel_blocks_ * block;
        const int64_t filters = std::min(block, filters_ - filter);
        const int64_t channels = std::min(block, channels_ - channel);
        const int64_t first = chunk * chunk_, last = std::min(first + chunk_, grid_.count());
        for (int64_t tile = first; tile < last; tile += tile_step) {
          const TileBlock tiles(grid_, tile, std::min(tile + tile_step, last));
          transform<InputLine>(conv_.patches, group * channels_ + channel, channels, tiles,
                               patches.get(), panel_width);
          transform<GradientLine>(conv_.gradient, group * filters_ + filter, filters, tiles,
                                  gradient.get(), block);
          multiply(filters, channels, tiles, gradient.get(), patches.get(), sums.get(),
                   tile > first);
        }
        store_weights(sums.get(), filters, channels,
                      to_weight(chunk) + group * conv_.weight_group + filter * conv_.weight_filter +
                          channel * conv_.weight_channel);
      }
    });
  }

  // `count` channels, in panels of `width`, each [tile][width].
  template <class Line>
  void transform(const Gather& gather, int64_t channel, int64_t count, const TileBlock& tiles,
                 float* to, int64_t width) const {
    alignas(64) float scratch[winograd_patch * strip_cols * size];
    const auto* const source = static_cast<const float*>(gather.source);
    for (int64_t c = 0; c < count; c += size)
      tiles.for_each_strip([&](const Strip& strip) {
        transform_strip<layout, Line>(
            gather, source + gather.strides.at(strip.n, channel + c, 0, 0, 0),
            std::min(size, count - c), strip, scratch,
            to + c / width * tile_step * width + c % width, operand_step, width);
      });
  }

  // A position that no tile needs must still give zeros when the sums begin.
  static void multiply(int64_t filters, int64_t channels, const TileBlock& tiles,
                       const float* gradient, const float* patches, float* sums, bool add) {
    for (int p = 0; p < winograd_positions; ++p) {
      const int64_t first = tiles.first(p), depth = tiles.last(p) - first;
      for (int64_t panel = 0; panel * panel_width < channels; ++panel)
        for_each_rows(0, filters, [&](int64_t row, auto rows) {
          multiply_rows<rows, 1>(
              depth, gradient + p * operand_step + first * block + row, block, depth, 0,
              patches + p * operand_step + (panel * tile_step + first) * panel_width,
              sums + p * sum_step + row * block + panel * panel_width, block, add);
        });
    }
  }

  void store_weights(const float* sums, int64_t filters, int64_t channels, float* to) const {
    for (int64_t k = 0; k < filters; ++k)
      for (int64_t c = 0; c < channels; c += size) {
        const float* const from = sums + k * block + c;
        Floats out[3][3];
        transform_square<FilterSumLine>(
            [&](int row, int col) {
              return load<float>(from + (row * winograd_patch + col) * sum_step);
            },
            out);
        float* const weight = to + k * conv_.weight_filter + c * conv_.weight_channel;
        const int64_t count = std::min(size, channels - c);
        if constexpr (layout == Layout::nhwc) {
          for (int t = 0; t < 9; ++t)
            Epilogue<float, float>(weight + conv_.patches.taps[t].weight)
                .store(0, out[t / 3][t % 3], count);
        } else {
          alignas(64) float taps[9 * size];
          for (int t = 0; t < 9; ++t) store<float>(taps + t * size, out[t / 3][t % 3]);
          for (int64_t i = 0; i < count; ++i)
            for (int t = 0; t < 9; ++t) weight[i * 9 + t] = taps[t * size + i];
        }
      }
  }

  const ReduceConv& conv_;
  TileGrid grid_;
  int64_t filters_, channels_, filter_blocks_, channel_blocks_, blocks_, weights_;
  int64_t chunk_, chunks_;
};

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
