// Starting a kernel in the emulator, and the knobs of a run.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>
#include <tuple>
#include <vector>

namespace cnnkern::emulator {

/// The order in which threads and blocks run follows from the seed alone. Without a call the seed
/// is CNNKERN_EMULATOR_SEED, or 0.
void set_seed(uint64_t seed);

/// OS threads that blocks are spread over; results do not depend on it. Without a call it is
/// CNNKERN_EMULATOR_THREADS, or the number of processors.
void set_threads(int threads);

/// Whether data races end a kernel (race_table.h); some ten times slower. Without a call it is
/// CNNKERN_EMULATOR_RACES, or off.
void set_race_check(bool on);
bool race_check();

/// Which blocks of a launch run, given how many there are: linear indices (x fastest), each once.
using BlockChoice = std::function<std::vector<uint64_t>(uint64_t blocks)>;

/// The launches to come run the chosen blocks only; what the others would have written stays as it
/// was. An empty function chooses all. Not to be called while a kernel runs.
void set_blocks(BlockChoice choice);

/// Chooses `count` blocks spread evenly over the launch, or all if there are no more.
BlockChoice spread_blocks(uint64_t count);

/// Runs `body` once as every thread of every block; returns when all are done. Throws
/// std::runtime_error with a report if the kernel broke a rule of the machine.
void launch(const char* kernel_name, dim3 grid, dim3 block, size_t shared_bytes,
            const std::function<void()>& body);

/// Arguments are copied once, as a launch copies them to constant memory; every thread then gets
/// its own copy of the parameters. A launch is finished when it returns: streams order nothing.
template <class... Params, class... Args>
void launch_kernel(const char* name, dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t,
                   void (*kernel)(Params...), Args&&... args) {
  const std::tuple<Params...> params(std::forward<Args>(args)...);
  launch(name, grid, block, shared_bytes, [&] { std::apply(kernel, params); });
}

}  // namespace cnnkern::emulator
