// Matrix transpose through shared memory: a warp reads along a row and writes along a row, so that
// both sides of global memory are coalesced; the turn happens in a tile of shared memory.
//
// A warp reads the tile along a column. With rows of 32 floats all 32 lanes meet in one bank; one
// more float a row spreads them over all banks. Without the tile the warp would write along a
// column of global memory: 32 sectors for 128 bytes.
#include "classics.h"
#include "cuda/primitives/ldst.cuh"
#include "cuda/primitives/shared.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {
namespace {

constexpr int tile = 32, tile_rows = 8;  // threads: tile × tile_rows

template <int pitch>
struct TransposeShared {
  float value[tile][pitch];
};

template <Transpose version>
using Shared = TransposeShared<version == Transpose::unpadded ? tile : tile + 1>;

template <Transpose version>
__global__ void transpose(const float* in, float* out, int rows, int columns) {
  CNNKERN_SHARED(Shared<version>, shared);
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
  const int first_row = static_cast<int>(blockIdx.y) * tile;
  const int first_column = static_cast<int>(blockIdx.x) * tile;
  for (int r = y; r < tile; r += tile_rows) {
    const int row = first_row + r, column = first_column + x;
    if (row >= rows || column >= columns) continue;
    const float value = load_global<float>(in + row * columns + column);
    if constexpr (version == Transpose::uncoalesced) store_global(out + column * rows + row, value);
    else store_shared(&shared.value[r][x], value);
  }
  if constexpr (version == Transpose::uncoalesced) return;
  __syncthreads();
  for (int r = y; r < tile; r += tile_rows) {
    const int row = first_column + r, column = first_row + x;  // of the result
    if (row >= columns || column >= rows) continue;
    store_global(out + row * rows + column, load_shared<float>(&shared.value[x][r]));
  }
}

}  // namespace

template <Transpose version>
void launch_transpose(const float* in, float* out, int rows, int columns, cudaStream_t stream) {
  const dim3 grid((columns + tile - 1) / tile, (rows + tile - 1) / tile);
  CNNKERN_LAUNCH(transpose<version>, grid, dim3(tile, tile_rows), sizeof(Shared<version>), stream,
                 in, out, rows, columns);
}

template void launch_transpose<Transpose::right>(const float*, float*, int, int, cudaStream_t);
template void launch_transpose<Transpose::unpadded>(const float*, float*, int, int, cudaStream_t);
template void launch_transpose<Transpose::uncoalesced>(const float*, float*, int, int,
                                                       cudaStream_t);

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
