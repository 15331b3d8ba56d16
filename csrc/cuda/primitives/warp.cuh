// Warp collectives, always with an explicit mask: every lane named in it must call, with the same
// mask and from the same place. Blocks are one-dimensional, so a warp is 32 neighbouring
// threadIdx.x. Values are of 4 or 8 bytes.
//
// The emulator makes each call a rendezvous of the lanes in the mask; lanes that call something
// else, call from elsewhere, or never come are an error. Reading a lane outside the mask gives NaN
// there (undefined on hardware).
#pragma once

#include "common/launch.h"

// A primitive made of others passes its caller's line on to them.
#if defined(CNNKERN_EMULATOR)
#include "emulator/warp_twins.h"
#define CNNKERN_CALL_SITE , emulator::Site site = emulator::Site::current()
#define CNNKERN_PASS_SITE , site
#else
#define CNNKERN_CALL_SITE
#define CNNKERN_PASS_SITE
#endif

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

inline constexpr unsigned full_warp = 0xffffffffu;

#if defined(CNNKERN_EMULATOR)

using emulator::all;
using emulator::any;
using emulator::ballot;
using emulator::lane_index;
using emulator::shuffle;
using emulator::shuffle_down;
using emulator::shuffle_up;
using emulator::shuffle_xor;
using emulator::sync_warp;
using emulator::warp_index;

#else

__device__ __forceinline__ int lane_index() { return static_cast<int>(threadIdx.x) & 31; }
__device__ __forceinline__ int warp_index() { return static_cast<int>(threadIdx.x) >> 5; }

/// The value of lane `lane`.
template <class T>
__device__ __forceinline__ T shuffle(unsigned mask, T value, int lane) {
  return __shfl_sync(mask, value, lane);
}

/// The value of the lane `delta` above; the top `delta` lanes keep their own.
template <class T>
__device__ __forceinline__ T shuffle_down(unsigned mask, T value, int delta) {
  return __shfl_down_sync(mask, value, delta);
}

/// The value of the lane `delta` below; the bottom `delta` lanes keep their own.
template <class T>
__device__ __forceinline__ T shuffle_up(unsigned mask, T value, int delta) {
  return __shfl_up_sync(mask, value, delta);
}

/// The value of lane (own ^ lane_mask).
template <class T>
__device__ __forceinline__ T shuffle_xor(unsigned mask, T value, int lane_mask) {
  return __shfl_xor_sync(mask, value, lane_mask);
}

/// Bit i tells whether lane i's predicate holds.
__device__ __forceinline__ unsigned ballot(unsigned mask, bool predicate) {
  return __ballot_sync(mask, predicate);
}

/// Whether the predicate holds in some lane of the mask.
__device__ __forceinline__ bool any(unsigned mask, bool predicate) {
  return __any_sync(mask, predicate);
}

/// Whether the predicate holds in every lane of the mask.
__device__ __forceinline__ bool all(unsigned mask, bool predicate) {
  return __all_sync(mask, predicate);
}

/// Orders the shared and global accesses of the lanes in the mask.
__device__ __forceinline__ void sync_warp(unsigned mask) { __syncwarp(mask); }

#endif

/// The sum over a full warp, the same bits in every lane: a butterfly adds in one fixed order.
template <class T>
__device__ __forceinline__ T warp_sum(unsigned mask, T value CNNKERN_CALL_SITE) {
  for (int lane_mask = 16; lane_mask > 0; lane_mask /= 2)
    value += shuffle_xor(mask, value, lane_mask CNNKERN_PASS_SITE);
  return value;
}

/// The largest value of a full warp, in every lane; NaN if one of them is.
template <class T>
__device__ __forceinline__ T warp_max(unsigned mask, T value CNNKERN_CALL_SITE) {
  for (int lane_mask = 16; lane_mask > 0; lane_mask /= 2) {
    const T other = shuffle_xor(mask, value, lane_mask CNNKERN_PASS_SITE);
    if (other > value || other != other) value = other;
  }
  return value;
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE
