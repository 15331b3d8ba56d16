// fprop and dgrad by Winograd's F(4×4, 3×3) (winograd_transforms.h): the sum over channels at each
// of the 36 positions of a transformed patch is a GEMM, tiles × filters.
//
// Three steps: patches become [position][vector of channels][tile][lane], weights
// [panel of filters][position][channel][filter], and for a panel of filters the products
// [position][tile][filter] become pixels, with bias, residual and activation, as they are stored.
// Of patches and weights the smaller is transformed whole, and shared; the other is made by each
// task for itself, a part that stays in the cache. Where there are many tiles a task is a block of
// tiles; where there are many filters it is a panel of filters, whose channels are added up chunk
// by chunk. What is shared is cut into parts of 16 MiB, done one after another. Weights that were
// transformed once and for all (`pack`) are read instead, whole.
// Memory: 16 MiB shared, and per thread 1.8 MiB or, with many tiles, 4 KiB a channel.
// Source: as winograd_transforms.h; the GEMM is BLIS's (gemm.h).
#pragma once

#include "cpu/conv/direct.h"
#include "cpu/conv/winograd_transforms.h"

namespace cnnkern::cpu::CNNKERN_CPU_ISA {

inline constexpr int64_t panel_width = tile_cols<float>;
// Keeps the positions, which are written side by side, out of one set of the cache.
inline constexpr int64_t position_gap = 64 / sizeof(float);

/// One position's GEMM: rows × panel_width sums, broadcast(left) · right. Step k of the depth reads
/// row i at left[i · row_step + k · depth_step], within blocks of `block` steps that lie
/// block_step apart.
template <int rows, int row_step>
inline void multiply_rows(int64_t depth, const float* left, int64_t depth_step, int64_t block,
                          int64_t block_step, const float* right, float* to, int64_t to_step,
                          bool add) {
  Floats sum[rows][2] = {};
  for (; depth > 0; depth -= block, left += block_step) {
    const float* a = left;
    for (int64_t k = std::min(depth, block); k > 0; --k, a += depth_step, right += panel_width) {
      const Floats b0 = load<float>(right), b1 = load<float>(right + lanes<float>);
      if constexpr (row_step > 1) __builtin_prefetch(left + (rows + k - 1) * row_step);
#pragma GCC unroll 16
      for (int i = 0; i < rows; ++i) {
        const Floats ai = broadcast(a[i * row_step]);
        sum[i][0] = fma<float>(ai, b0, sum[i][0]);
        sum[i][1] = fma<float>(ai, b1, sum[i][1]);
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i, to += to_step)
    for (int v = 0; v < 2; ++v) {
      float* const at = to + v * lanes<float>;
      store<float>(at, add ? load<float>(at) + sum[i][v] : sum[i][v]);
    }
}

/// body(row, integral_constant count) for blocks of about equal size that fit the registers.
template <class Body>
inline void for_each_rows(int64_t first, int64_t last, Body&& body) {
  if (first == last) return;
  const int64_t most = ceil_div(last - first, ceil_div(last - first, tile_rows));
  for (int64_t row = first; row < last; row += most)
    with_count<tile_rows>(std::min(most, last - row), [&](auto count) { body(row, count); });
}

/// One group of a convolution.
template <Layout layout>
class Winograd {
  static constexpr int64_t size = lanes<float>;
  static constexpr int64_t shared_floats = (int64_t{16} << 20) / sizeof(float);
  static constexpr int64_t tile_block = 24 / tile_rows * tile_rows, most_tiles = 256;
  static constexpr int64_t channel_chunk = 128;

 public:
  Winograd(const GatherConv& conv, int64_t group)
      : conv_(conv),
        gather_(conv.gather),
        grid_(conv.gather),
        source_(static_cast<const float*>(gather_.source) +
                group * gather_.channels * gather_.strides.c),
        weight_(static_cast<const float*>(conv.weight) + group * conv.weight_group),
        bias_(conv.bias ? static_cast<const float*>(conv.bias) + group * conv.filters : nullptr),
        epilogue_(conv, group * conv.filters * conv.dest_strides.c),
        depth_(gather_.channels),
        vectors_(ceil_div(depth_, size)),
        panels_(ceil_div(conv.filters, panel_width)),
        panel_step_(depth_ * panel_width + position_gap),
        packed_(conv.packed ? static_cast<const float*>(conv.packed) + group * packed_floats()
                            : nullptr) {}

  int64_t packed_floats() const { return panels_ * panel_floats(); }

  void pack(float* to, const ParallelFor& parallel) const { pack_panels(0, panels_, to, parallel); }

  void run(const ParallelFor& parallel) const {
    if (conv_.filters <= grid_.count()) share_weights(parallel);
    else share_patches(parallel);
  }

 private:
  // Transformed patches and products of a block of tiles.
  struct Block : TileBlock {
    int64_t patch_step, product_step;  // between positions

    Block(const TileGrid& grid, int64_t begin, int64_t end, int64_t vectors)
        : TileBlock(grid, begin, end),
          patch_step(vectors * (end - begin) * size + position_gap),
          product_step((end - begin) * panel_width + position_gap) {}
    int64_t patch_floats() const { return winograd_positions * patch_step; }
    int64_t product_floats() const { return winograd_positions * product_step; }
  };

  int64_t panel_floats() const { return winograd_positions * panel_step_; }

  void pack_panels(int64_t first, int64_t count, float* to, const ParallelFor& parallel) const {
    parallel(count * vectors_, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task)
        transform_weights(
            first + task / vectors_, task % vectors_,
            to + task / vectors_ * panel_floats() + task % vectors_ * size * panel_width,
            panel_step_);
    });
  }

  void share_weights(const ParallelFor& parallel) const {
    const int64_t fit = std::clamp<int64_t>(shared_floats / panel_floats(), 1, panels_);
    const int64_t panels_each = packed_ ? panels_ : fit;
    const int64_t blocks = ceil_div(grid_.count(), tile_block);
    Buffer<float> own(packed_ ? 0 : panels_each * panel_floats());
    const float* const weights = packed_ ? packed_ : own.get();
    for (int64_t first = 0; first < panels_; first += panels_each) {
      const int64_t count = std::min(panels_each, panels_ - first);
      if (!packed_) pack_panels(first, count, own.get(), parallel);
      parallel(blocks, [&](int64_t begin, int64_t end) {
        const Block largest(grid_, 0, tile_block, vectors_);
        Buffer<float> patches(largest.patch_floats()), products(largest.product_floats());
        for (int64_t i = begin; i < end; ++i) {
          const Block block(grid_, i * tile_block, std::min((i + 1) * tile_block, grid_.count()),
                            vectors_);
          for (int64_t v = 0; v < vectors_; ++v) transform_patches(block, v, patches.get());
          for (int64_t panel = 0; panel < count; ++panel) {
            multiply(block, 0, vectors_, patches.get(), weights + panel * panel_floats(),
                     panel_step_, products.get());
            store_pixels(block, products.get(), first + panel);
          }
        }
      });
    }
  }

  void share_patches(const ParallelFor& parallel) const {
    const int64_t fit =
        std::clamp<int64_t>(shared_floats / (winograd_positions * vectors_ * size), 1, most_tiles);
    const int64_t tiles_each = ceil_div(grid_.count(), ceil_div(grid_.count(), fit));
    const Block largest(grid_, 0, tiles_each, vectors_);
    Buffer<float> patches(largest.patch_floats());
    const int64_t chunk = std::min(channel_chunk / size, vectors_);  // of vectors
    const int64_t weights_step = chunk * size * panel_width + position_gap;
    for (int64_t first = 0; first < grid_.count(); first += tiles_each) {
      const Block block(grid_, first, std::min(first + tiles_each, grid_.count()), vectors_);
      parallel(vectors_, [&](int64_t begin, int64_t end) {
        for (int64_t v = begin; v < end; ++v) transform_patches(block, v, patches.get());
      });
      parallel(panels_, [&](int64_t begin, int64_t end) {
        Buffer<float> weights(winograd_positions * weights_step);
        Buffer<float> products(largest.product_floats());
        for (int64_t panel = begin; panel < end; ++panel) {
          for (int64_t v = 0; v < vectors_; v += chunk) {
            const int64_t count = std::min(chunk, vectors_ - v);
            if (packed_) {
              multiply(block, v, v + count, patches.get(),
                       packed_ + panel * panel_floats() + v * size * panel_width, panel_step_,
                       products.get());
              continue;
            }
            for (int64_t i = 0; i < count; ++i)
              transform_weights(panel, v + i, weights.get() + i * size * panel_width, weights_step);
            multiply(block, v, v + count, patches.get(), weights.get(), weights_step,
                     products.get());
          }
          store_pixels(block, products.get(), panel);
        }
      });
    }
  }

  // A vector of channels of a panel of filters; a function of the weights only.
  void transform_weights(int64_t panel, int64_t vector, float* to, int64_t to_step) const {
    const int64_t first = panel * panel_width, channel = vector * size;
    const int64_t filters = std::min(panel_width, conv_.filters - first);
    const int64_t channels = std::min(size, depth_ - channel);
    alignas(64) float taps[9 * size * panel_width];  // [tap][channel][filter] or [channel][tap]
    const float* const from =
        weight_ + first * conv_.weight_filter + channel * conv_.weight_channel;
    int64_t tap_step = size * panel_width, channel_step = panel_width, tap_at[9];
    if constexpr (layout == Layout::nchw) {  // the taps of a channel are neighbours
      tap_step = panel_width, channel_step = 9 * panel_width;
      for (int t = 0; t < 9; ++t) tap_at[t] = gather_.taps[t].weight * tap_step;
      const bool adjoining = conv_.weight_channel == 9;  // the channels, too: fprop
      for (int64_t c = 0; c < channels; c += adjoining ? channels : 1)
        transpose<panel_width>(from + c * conv_.weight_channel, conv_.weight_filter, filters,
                               adjoining ? 9 * channels : 9, taps + c * channel_step);
    } else {
      for (int t = 0; t < 9; ++t) {
        tap_at[t] = t * tap_step;
        const float* const tap = from + gather_.taps[t].weight;
        if (conv_.weight_channel == 1)  // fprop
          transpose<panel_width>(tap, conv_.weight_filter, filters, channels, taps + tap_at[t]);
        else  // dgrad, where a filter is a channel of the input
          for (int64_t c = 0; c < channels; ++c)
            for (int64_t i = 0; i < panel_width; i += size)
              store<float>(taps + tap_at[t] + c * channel_step + i,
                           load_up_to(tap + c * conv_.weight_channel + i, filters - i));
      }
    }
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t i = 0; i < panel_width; i += size) {
        const float* const filter = taps + c * channel_step + i;
        Floats out[winograd_patch][winograd_patch];
        transform_square<FilterLine>(
            [&](int row, int col) { return load<float>(filter + tap_at[3 * row + col]); }, out);
        float* const at = to + c * panel_width + i;
#pragma GCC unroll 36
        for (int p = 0; p < winograd_positions; ++p)
          store<float>(at + p * to_step, out[p / winograd_patch][p % winograd_patch]);
      }
  }

  static Floats load_up_to(const float* from, int64_t count) {
    return count >= size ? load<float>(from)
           : count > 0   ? load_partial<float>(from, count)
                         : Floats{};
  }

  // A vector of channels of a block of tiles.
  void transform_patches(const Block& block, int64_t vector, float* to) const {
    alignas(64) float scratch[winograd_patch * strip_cols * size];
    const int64_t channel = vector * size;
    block.for_each_strip([&](const Strip& strip) {
      transform_strip<layout, InputLine>(
          gather_, source_ + strip.n * gather_.strides.n + channel * gather_.strides.c,
          std::min(size, depth_ - channel), strip, scratch, to + vector * block.tiles() * size,
          block.patch_step, size);
    });
  }

  // The vectors of channels [begin, end); the first ones begin the sums.
  void multiply(const Block& block, int64_t begin, int64_t end, const float* patches,
                const float* weights, int64_t weights_step, float* products) const {
    const int64_t depth = std::min(end * size, depth_) - begin * size;
    for (int p = 0; p < winograd_positions; ++p)
      for_each_rows(block.first(p), block.last(p), [&](int64_t tile, auto rows) {
        multiply_rows<rows, size>(
            depth, patches + p * block.patch_step + (begin * block.tiles() + tile) * size, 1, size,
            block.tiles() * size, weights + p * weights_step,
            products + p * block.product_step + tile * panel_width, panel_width, begin > 0);
      });
  }

  void store_pixels(const Block& block, const float* products, int64_t panel) const {
    for (int64_t half = 0; half < panel_width; half += size) {
      const int64_t filter = panel * panel_width + half;
      const int64_t filters = std::min(size, conv_.filters - filter);
      if (filters <= 0) return;
      const Floats bias = bias_ ? load_up_to(bias_ + filter, filters) : Floats{};
      block.for_each_strip([&](const Strip& strip) {
        store_strip(strip, products + half, block.product_step, filter, filters, bias);
      });
    }
  }

  void store_strip(const Strip& strip, const float* products, int64_t step, int64_t filter,
                   int64_t filters, Floats bias) const {
    constexpr int64_t pitch = strip_tiles * winograd_tile + size;  // squares may look beyond
    alignas(64) float pixels[winograd_tile * pitch * size];        // [row][column][filter], nchw
    const int64_t h = strip.row * winograd_tile, w = strip.col * winograd_tile;
    const int64_t rows = strip.height;
    const int64_t cols = (strip.count - 1) * winograd_tile + strip.last_width;
    const int64_t dest = conv_.dest_strides.at(strip.n, filter, 0, h, w);
    const Extent3& steps = conv_.dest_strides.space;
    for (int64_t t = 0; t < strip.count; ++t) {
      const int64_t width = t == strip.count - 1 ? strip.last_width : winograd_tile;
      const float* const tile = products + strip.slot_of(t) * panel_width;
      const auto product = [&](int row, int col) {
        return load<float>(tile + (row * winograd_patch + col) * step);
      };
      Floats out[winograd_tile][winograd_tile];
      if (strip.height == winograd_tile && width == winograd_tile)
        transform_square<OutputLine>(product, out);
      else
        transform_square<OutputLine>(
            [&](int row, int col) {
              return row < strip.height + 2 && col < width + 2 ? product(row, col) : Floats{};
            },
            out);
      for (int r = 0; r < winograd_tile; ++r)
        for (int c = 0; c < winograd_tile; ++c) {
          const int64_t col = t * winograd_tile + c;
          if constexpr (layout == Layout::nchw)
            store<float>(pixels + (r * pitch + col) * size, out[r][c] + bias);
          else if (r < rows && col < cols)
            epilogue_.store(dest + r * steps.h + col * steps.w, out[r][c] + bias, filters);
        }
    }
    if constexpr (layout == Layout::nchw)
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < cols; c += size) {
          Floats square[size];
          for (int64_t i = 0; i < size; ++i)
            square[i] = load<float>(pixels + (r * pitch + c + i) * size);
          transpose_square<float>(square);
          for (int64_t i = 0; i < filters; ++i)
            epilogue_.store(dest + i * conv_.dest_strides.c + r * steps.h + c, square[i],
                            std::min(size, cols - c));
        }
  }

  const GatherConv& conv_;
  const Gather& gather_;
  TileGrid grid_;
  const float *source_, *weight_, *bias_;
  Epilogue<float, float> epilogue_;
  int64_t depth_, vectors_, panels_, panel_step_;
  const float* packed_;  // null, or this group's
};

}  // namespace cnnkern::cpu::CNNKERN_CPU_ISA
