// One pass over a tensor between the caller's layout and the one of the tensor cores: channels
// last, each group's channels filled up with zeros to 16 bytes, or several groups in one, the
// weight block-diagonal. Elements of 2 or 4 bytes, moved as they are.
//
// A block moves a tile of up to 128 bytes of channels x 64 pixels through shared memory. The
// workspace's side is accessed by 16 bytes, a chunk of channels of a pixel; the caller's side along
// its own fastest axis: by 16 or 8 bytes of pixels where all rows of pixels lie on as many, by one
// element elsewhere. So on both sides neighbouring lanes touch neighbouring addresses.
//
// Shared memory in N C D H W: [channel][pixel], where 16 bytes of pixels lie at their own number
// XOR a key that differs between eight neighbouring channels, and between eight neighbouring
// chunks; so neither the pixels nor the channels of neighbouring lanes meet in a bank. In channels
// last: [pixel][channel]. Grid: x = images x tiles of pixels, y = tiles of channels, z = groups.
// Source: NVIDIA's "An Efficient Matrix Transpose in CUDA C/C++", with a swizzle for its padding.
#include <algorithm>
#include <bit>

#include "common/ceil_div.h"
#include "common/fast_divmod.h"
#include "cuda/conv/conv_launch.h"
#include "cuda/indexing.cuh"
#include "cuda/primitives/ldst.cuh"
#include "cuda/primitives/shared.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

constexpr int threads = 256;

/// Elements in 16 bytes.
template <class Bits>
inline constexpr int chunk = 16 / sizeof(Bits);

struct LayoutParams {
  void *given, *padded;
  FastDivmod64 by_tiles, by_padded_images, by_block_images;
  int64_t images, pixels, channels, padded_channels, groups;
  int run;             // pixels of a tile
  FastDivmod by_line;  // accesses to a line of the caller's tensor in a tile
  int chunks_log2;     // of a tile's channels, rounded up to a power of two
};

template <class Bits>
struct LayoutStage {
  alignas(16) Bits data[layout_channels(sizeof(Bits)) * layout_pixels];
};

/// The tile of this block.
template <class Bits, Layout layout, int vector>
struct LayoutTile {
  static constexpr bool planes = layout == Layout::nchw;
  static constexpr int together = chunk<Bits>, tile_channels = layout_channels(sizeof(Bits));
  using Chunk = Vector<Bits, together>;
  using Stage = LayoutStage<Bits>;

  const LayoutParams& p;
  Bits *given, *padded;  // the tile's first element
  int64_t line, row;  // from one line of the caller's, and one pixel of the workspace, to the next
  int first, channels;  // the caller's channels among those of the tile
  int pixels, chunks;   // of channels, padding counted
  bool exists;          // images that are padding do not

  __device__ __forceinline__ explicit LayoutTile(const LayoutParams& p_) : p(p_) {
    int64_t tile, image;
    const int64_t padded_image = p.by_tiles.divmod(blockIdx.x, tile);
    const int64_t set = p.by_padded_images.divmod(padded_image, image);
    const int64_t group = blockIdx.z, channel = int64_t{blockIdx.y} * tile_channels;
    const int64_t pixel = tile * p.run, given_image = set * p.images + image;
    exists = image < p.images;
    line = planes ? p.pixels : p.groups * p.channels;
    row = p.groups * p.padded_channels;
    given = static_cast<Bits*>(p.given) +
            (planes ? ((given_image * p.groups + group) * p.channels + channel) * line + pixel
                    : (given_image * p.pixels + pixel) * line + group * p.channels + channel);
    padded = static_cast<Bits*>(p.padded) + (padded_image * p.pixels + pixel) * row +
             group * p.padded_channels + channel;
    const auto at_most = [](int64_t size, int limit) {
      return static_cast<int>(min(size, int64_t{limit}));
    };
    first = static_cast<int>(p.by_block_images.divide(image) * p.channels);  // of a block
    channels = at_most(p.channels - channel, tile_channels);
    pixels = at_most(p.pixels - pixel, p.run);
    chunks = at_most(p.padded_channels - channel, tile_channels) / together;
  }

  /// body(address, channel, pixel) for each access of this thread to the caller's tensor, the
  /// channel being the tile's.
  template <class Body>
  __device__ __forceinline__ void each_given(const Body& body) const {
    const int lines = planes ? channels : pixels, length = planes ? pixels : channels;
    const int accesses = lines * static_cast<int>(p.by_line.divisor);
#pragma unroll 2
    for (int i = static_cast<int>(threadIdx.x); i < accesses; i += threads) {
      int at;
      const int l = p.by_line.divmod(i, at);
      at *= vector;
      if (at < length) body(given + l * line + at, first + (planes ? l : at), planes ? at : l);
    }
  }

  /// The same for the workspace's.
  template <class Body>
  __device__ __forceinline__ void each_padded(const Body& body) const {
    const int accesses = pixels << p.chunks_log2;
#pragma unroll 2
    for (int i = static_cast<int>(threadIdx.x); i < accesses; i += threads) {
      const int pixel = i >> p.chunks_log2, number = i & ((1 << p.chunks_log2) - 1);
      const int channel = number * together;
      if (number < chunks) body(padded + pixel * row + channel, channel, pixel);
    }
  }

  __device__ __forceinline__ Bits* staged(Stage& stage, int channel, int pixel) const {
    if constexpr (!planes) return stage.data + (pixel * together << p.chunks_log2) + channel;
    const int key = (channel + channel / together * 5) % 8;
    return stage.data + channel * layout_pixels + (pixel / together ^ key) * together +
           pixel % together;
  }

  __device__ __forceinline__ Chunk load_chunk(Stage& stage, int channel, int pixel) const {
    Chunk values;
    if constexpr (planes) {
#pragma unroll
      for (int c = 0; c < together; ++c)
        values[c] = load_shared<Bits>(staged(stage, channel + c, pixel));
    } else {
      values = load_shared<Chunk>(staged(stage, channel, pixel));
    }
    const unsigned count = exists ? channels : 0;  // what was not written is not used
#pragma unroll
    for (int c = 0; c < together; ++c)
      values[c] = static_cast<unsigned>(channel + c - first) < count ? values[c] : Bits{0};
    return values;
  }

  __device__ __forceinline__ void store_chunk(Stage& stage, int channel, int pixel,
                                              const Chunk& values) const {
    if constexpr (planes) {
#pragma unroll
      for (int c = 0; c < together; ++c) store_shared(staged(stage, channel + c, pixel), values[c]);
    } else {
      store_shared(staged(stage, channel, pixel), values);
    }
  }
};

template <class Bits, Layout layout, int vector>
__global__ void __launch_bounds__(threads) pad_layout(const LayoutParams p) {
  CNNKERN_SHARED(LayoutStage<Bits>, stage);
  const LayoutTile<Bits, layout, vector> tile(p);
  using Vec = Vector<Bits, vector>;
  if (tile.exists)
    tile.each_given([&](const Bits* from, int channel, int pixel) {
      store_shared(tile.staged(stage, channel, pixel), load_global_readonly<Vec>(from));
    });
  __syncthreads();
  tile.each_padded([&](Bits* to, int channel, int pixel) {
    store_global(to, tile.load_chunk(stage, channel, pixel));
  });
}

template <class Bits, Layout layout, int vector>
__global__ void __launch_bounds__(threads) unpad_layout(const LayoutParams p) {
  CNNKERN_SHARED(LayoutStage<Bits>, stage);
  const LayoutTile<Bits, layout, vector> tile(p);
  using Vec = Vector<Bits, vector>;
  if (!tile.exists) return;
  tile.each_padded([&](const Bits* from, int channel, int pixel) {
    if (channel + tile.together > tile.first && channel < tile.first + tile.channels)
      tile.store_chunk(stage, channel, pixel,
                       load_global_readonly<typename decltype(tile)::Chunk>(from));
  });
  __syncthreads();
  tile.each_given([&](Bits* to, int channel, int pixel) {
    store_global(to, load_shared<Vec>(tile.staged(stage, channel, pixel)));
  });
}

template <class Bits, Layout layout, int vector>
void launch_tiles(LayoutWay way, const LayoutParams& params, dim3 grid, cudaStream_t stream) {
  if (way == LayoutWay::pad)
    CNNKERN_LAUNCH((pad_layout<Bits, layout, vector>), grid, dim3(threads),
                   sizeof(LayoutStage<Bits>), stream, params);
  else
    CNNKERN_LAUNCH((unpad_layout<Bits, layout, vector>), grid, dim3(threads),
                   sizeof(LayoutStage<Bits>), stream, params);
}

template <class Bits>
void launch(const LayoutMove& move, LayoutWay way, void* given, void* padded, cudaStream_t stream) {
  const int64_t pixel_tiles = ceil_div(move.pixels, layout_pixels);
  const int64_t blocks = move.sets * move.padded_images * pixel_tiles;
  if (blocks == 0 || move.groups * move.padded_channels == 0) return;
  const bool planes = move.layout == Layout::nchw;
  const auto fits = [&](int vector) {
    return planes && move.pixels % vector == 0 &&
           reinterpret_cast<uintptr_t>(given) % (vector * sizeof(Bits)) == 0;
  };
  constexpr int whole = chunk<Bits>, half = whole / 2, channels = layout_channels(sizeof(Bits));
  const int vector = fits(whole) ? whole : fits(half) ? half : 1;
  const int64_t even = ceil_div(move.pixels, pixel_tiles);
  const int64_t run = ceil_div(even, vector) * vector;
  const int64_t tile_channels = std::min<int64_t>(move.channels, channels);
  // Vectors of a row of pixels are counted up to a power of two, lest two rows meet in a bank.
  const int64_t line = !planes       ? tile_channels
                       : vector == 1 ? run
                                     : std::bit_ceil(static_cast<unsigned>(run / vector));
  int chunks_log2 = 0;
  while (whole << chunks_log2 < std::min<int64_t>(move.padded_channels, channels)) ++chunks_log2;
  const LayoutParams params{.given = given,
                            .padded = padded,
                            .by_tiles = FastDivmod64(pixel_tiles),
                            .by_padded_images = FastDivmod64(move.padded_images),
                            .by_block_images = FastDivmod64(move.images / move.blocks),
                            .images = move.images,
                            .pixels = move.pixels,
                            .channels = move.channels,
                            .padded_channels = move.padded_channels,
                            .groups = move.groups,
                            .run = static_cast<int>(run),
                            .by_line = FastDivmod(line),
                            .chunks_log2 = chunks_log2};
  const dim3 grid(static_cast<unsigned>(blocks),
                  static_cast<unsigned>(ceil_div(move.padded_channels, channels)),
                  static_cast<unsigned>(move.groups));
  if (!planes) launch_tiles<Bits, Layout::nhwc, 1>(way, params, grid, stream);
  else if (vector == whole) launch_tiles<Bits, Layout::nchw, whole>(way, params, grid, stream);
  else if (vector == half) launch_tiles<Bits, Layout::nchw, half>(way, params, grid, stream);
  else launch_tiles<Bits, Layout::nchw, 1>(way, params, grid, stream);
}

}  // namespace

void launch_layout_move(const LayoutMove& move, LayoutWay way, void* given, void* padded,
                        cudaStream_t stream) {
  if (move.element_bytes == 4) launch<uint32_t>(move, way, given, padded, stream);
  else launch<uint16_t>(move, way, given, padded, stream);
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
