// The emulator's <cuda_runtime.h>: what a .cu file needs so that g++ compiles it unchanged.
// Keywords, built-in variables, vector types, a little arithmetic and, from cudart.h, the runtime's
// functions; the rest of a kernel's dealings with the machine goes through csrc/cuda/primitives.
#pragma once

#define CNNKERN_EMULATOR 1

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <source_location>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

using std::fma;
using std::max;
using std::min;

// The scheduler sets these before it resumes a thread. A block never leaves its OS thread, so the
// compiler may keep their addresses; initial-exec keeps them cheap inside a shared library.
#define CNNKERN_BUILT_IN extern constinit thread_local __attribute__((tls_model("initial-exec")))
CNNKERN_BUILT_IN uint3 threadIdx;
CNNKERN_BUILT_IN uint3 blockIdx;
CNNKERN_BUILT_IN dim3 blockDim;
CNNKERN_BUILT_IN dim3 gridDim;

inline constexpr int warpSize = 32;

namespace cnnkern::emulator {
void barrier(std::source_location site);
}

/// The block's barrier; the default argument carries the caller's file and line.
inline void __syncthreads(std::source_location site = std::source_location::current()) {
  cnnkern::emulator::barrier(site);
}

#include "emulator/cudart.h"
