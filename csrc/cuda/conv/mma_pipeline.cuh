// How tiles travel to shared memory while the tensor cores work on others.
//
//   sm_80 on   cp.async fills a ring of three stages; a stage is filled again as soon as nobody
//              reads it, so that two tiles are always on their way.
//   before     two stages take turns. Global loads bring the tile after the next into registers
//              while the current one is multiplied, and land in the stage that nobody reads any
//              more just before the barrier.
// Either way one barrier a tile, and a loader says `copy` once for each of its chunks.
// Source: CUTLASS's "MmaMultistage" and "MmaPipelined".
#pragma once

#include "cuda/primitives/cp_async.cuh"
#include "cuda/primitives/ldst.cuh"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

/// Source::copy brings a tile into registers, Source::land stores it.
struct RegisterPipeline {
  /// Returns when this thread's part of the first tile has arrived.
  template <class Source, class Stage, int stages>
  __device__ __forceinline__ static void begin(Source& source, Stage (&stage)[stages]) {
    source.copy(stage[0]);
    source.land(stage[0]);
    source.copy(stage[1]);
  }

  /// Starts to copy the next tile into the stage.
  template <class Source, class Stage>
  __device__ __forceinline__ static void copy(Source& source, Stage& stage) {
    source.copy(stage);
  }

  /// Returns when this thread's part of the next tile has arrived, which is that stage's.
  template <int stages, class Source, class Stage>
  __device__ __forceinline__ static void arrive(Source& source, Stage& stage) {
    source.land(stage);
  }

  __device__ __forceinline__ static void end() {}
};

#if CNNKERN_ARCH >= 800

/// A thread's chunks of 16 bytes of an operand's tile; Lines says how many, and where they go.
template <class Lines>
struct ChunkCopies {
  using Tile = typename Lines::Tile;

  /// Starts to copy the i-th, or zeros if not `valid`.
  __device__ __forceinline__ void copy(const Lines& lines, Tile& tile, int i,
                                       const typename Tile::Element* from, bool valid) {
    cp_async_16(tile.data + lines.place(i), from, valid);
  }
  __device__ __forceinline__ void land(const Lines&, Tile&) const {}
};

/// Source::copy issues cp.async.
struct AsyncPipeline {
  template <class Source, class Stage, int stages>
  __device__ __forceinline__ static void begin(Source& source, Stage (&stage)[stages]) {
#pragma unroll
    for (int i = 0; i < stages; ++i) copy(source, stage[i]);
    cp_async_wait<stages - 1>();
  }

  template <class Source, class Stage>
  __device__ __forceinline__ static void copy(Source& source, Stage& stage) {
    source.copy(stage);
    cp_async_commit();
  }

  template <int stages, class Source, class Stage>
  __device__ __forceinline__ static void arrive(Source&, Stage&) {
    cp_async_wait<stages - 2>();
  }

  __device__ __forceinline__ static void end() { cp_async_wait<0>(); }
};

using MmaPipeline = AsyncPipeline;

#else

template <class Lines>
class ChunkCopies {
  using Tile = typename Lines::Tile;
  using Chunk = Vector<unsigned, 4>;

 public:
  __device__ __forceinline__ void copy(const Lines&, Tile&, int i,
                                       const typename Tile::Element* from, bool valid) {
    chunks_[i] = load_global_or_zero<Chunk>(from, valid);
  }
  /// Stores what was copied last.
  __device__ __forceinline__ void land(const Lines& lines, Tile& tile) const {
#pragma unroll
    for (int i = 0; i < Lines::count; ++i) store_shared(tile.data + lines.place(i), chunks_[i]);
  }

 private:
  Chunk chunks_[Lines::count];
};

using MmaPipeline = RegisterPipeline;

#endif

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
