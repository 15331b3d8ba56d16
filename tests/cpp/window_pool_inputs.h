// What adaptive and fractional max pooling and unpooling read besides values.
#pragma once

#include <cstring>

#include "common/window_pool_problem.h"

namespace cnnkern {

/// Samples from [0, 0.99], none where windows are adaptive; random(bound) gives [-bound, bound].
template <class Random>
void fill_samples(const WindowPoolProblem& p, Random& random, void* samples) {
  dispatch(p.dtype, [&]<class T>(T value) {
    for (int64_t i = 0; i < p.sample_elements(); ++i) {
      value = static_cast<T>(0.495f * (1.0f + static_cast<float>(random(10000)) / 10000.0f));
      std::memcpy(static_cast<char*>(samples) + i * static_cast<int64_t>(sizeof(T)), &value,
                  sizeof(T));
    }
  });
}

/// Positions for an unpooling; some are named twice.
template <class Random>
void fill_positions(const WindowPoolProblem& p, Random& random, int64_t* indices) {
  for (int64_t i = 0; i < p.output_elements(); ++i)
    indices[i] = (random(10000) + 10000) % p.input.volume();
}

}  // namespace cnnkern
