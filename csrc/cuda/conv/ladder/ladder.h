// The ladder: one forward convolution written six times, each time with one idea more, from the
// definition to tensor cores. docs/ladder.md tells the story. The rungs are for readers: a plan
// takes one only when it is asked for by name, as the tests do. To keep one idea in sight, they
// compute 2-d convolutions in channels last, of one group, with nothing fused but the bias.
#pragma once

#include <array>

#include "cuda/conv/conv_plan.h"

namespace cnnkern {

struct Rung {
  const char* name;  // of the row of the kernel table, and of the kernel
  DType dtype;
  int vector;  // channels that travel together
  int stored;  // filters that are stored together
  Tile tile;   // zeros where there is none
  int threads;
  int64_t shared_bytes;
  int arch;  // the first that has its instructions
};

inline constexpr std::array<Rung, 6> ladder = {{
    {"ladder_1_direct", DType::float32, 1, 1, {}, 256, 0, 75},
    {"ladder_2_shared_memory", DType::float32, 1, 1, {16, 16, 16}, 256, 2176, 75},
    {"ladder_3_registers", DType::float32, 1, 1, {64, 64, 16}, 256, 8448, 75},
    {"ladder_4_vectors", DType::float32, 4, 4, {128, 128, 8}, 256, 8448, 75},
    {"ladder_5_async_copies", DType::float32, 4, 1, {128, 128, 8}, 256, 32768, 80},
    {"ladder_6_tensor_cores", DType::float16, 8, 2, {128, 128, 32}, 128, 49152, 80},
}};

ConvKernelInfo ladder_kernel(int rung);

/// Why rung `kernel.rung` does not take the problem.
std::string refuse_ladder(const ConvKernelInfo& kernel, const ConvProblem& problem,
                          const DeviceCaps& device);

void plan_ladder(const ConvProblem& problem, ConvPlan& plan);

}  // namespace cnnkern
