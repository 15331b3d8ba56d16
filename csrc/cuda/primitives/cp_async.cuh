// cp.async: copies from global to shared memory that run while the threads compute (sm_80 on).
//
// A thread issues copies, closes them into a group with commit, and later waits until at most N of
// its newest groups are still under way. Only then has its own data arrived; the data of other
// threads has arrived after their wait *and* a __syncthreads(). PTX ISA, "cp.async".
//
// L2::128B asks the L2 cache for the whole 128-byte line, as NVIDIA's own libraries do.
//
// In the emulator the destination turns to NaN at issue and the data lands at the wait, the latest
// moment the hardware may choose; a copy that nobody waits for is an error.
#pragma once

#include "common/launch.h"

#if CNNKERN_ARCH == 0 || CNNKERN_ARCH >= 800
#if defined(CNNKERN_EMULATOR)

#include "emulator/device.h"

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

inline void cp_async_16(void* shared, const void* global, bool valid,
                        emulator::Site site = emulator::Site::current()) {
  emulator::cp_async_issue(shared, global, 16, valid, site);
}

inline void cp_async_8(void* shared, const void* global, bool valid,
                       emulator::Site site = emulator::Site::current()) {
  emulator::cp_async_issue(shared, global, 8, valid, site);
}

inline void cp_async_4(void* shared, const void* global, bool valid,
                       emulator::Site site = emulator::Site::current()) {
  emulator::cp_async_issue(shared, global, 4, valid, site);
}

inline void cp_async_commit() { emulator::cp_async_commit_group(); }

template <int N>
void cp_async_wait() {
  emulator::cp_async_wait_group(N);
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE

#else

namespace cnnkern::CNNKERN_CUDA_NAMESPACE {

/// Copies 16 bytes past the L1 cache, or writes 16 zeros without reading if not `valid`.
__device__ __forceinline__ void cp_async_16(void* shared, const void* global, bool valid) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(
                   static_cast<unsigned>(__cvta_generic_to_shared(shared))),
               "l"(__cvta_generic_to_global(global)), "r"(valid ? 16 : 0)
               : "memory");
}

/// Copies 8 bytes, or writes 8 zeros without reading if not `valid`.
__device__ __forceinline__ void cp_async_8(void* shared, const void* global, bool valid) {
  asm volatile("cp.async.ca.shared.global.L2::128B [%0], [%1], 8, %2;" ::"r"(
                   static_cast<unsigned>(__cvta_generic_to_shared(shared))),
               "l"(__cvta_generic_to_global(global)), "r"(valid ? 8 : 0)
               : "memory");
}

/// Copies 4 bytes, or writes 4 zeros without reading if not `valid`.
__device__ __forceinline__ void cp_async_4(void* shared, const void* global, bool valid) {
  asm volatile("cp.async.ca.shared.global.L2::128B [%0], [%1], 4, %2;" ::"r"(
                   static_cast<unsigned>(__cvta_generic_to_shared(shared))),
               "l"(__cvta_generic_to_global(global)), "r"(valid ? 4 : 0)
               : "memory");
}

__device__ __forceinline__ void cp_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

/// Returns when at most N of this thread's newest groups are still under way.
template <int N>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

}  // namespace cnnkern::CNNKERN_CUDA_NAMESPACE

#endif
#endif
