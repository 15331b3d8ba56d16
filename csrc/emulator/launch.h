// Starting a kernel in the emulator, and the two knobs of a run.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>

namespace cnnkern::emulator {

/// The order in which threads and blocks run follows from the seed alone. Without a call the seed
/// is CNNKERN_EMULATOR_SEED, or 0.
void set_seed(uint64_t seed);

/// OS threads that blocks are spread over; results do not depend on it. Without a call it is
/// CNNKERN_EMULATOR_THREADS, or the number of processors.
void set_threads(int threads);

/// Runs `body` once as every thread of every block, for cudaLaunchKernelEx; returns when all are
/// done. Throws std::runtime_error with a report if the kernel broke a rule of the machine.
void launch(const char* kernel_name, dim3 grid, dim3 block, size_t shared_bytes,
            const std::function<void()>& body);

}  // namespace cnnkern::emulator
