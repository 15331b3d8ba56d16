// Gradients for which an average pooling's backward is exact.
#pragma once

#include <cstring>

#include "common/avg_pool_problem.h"
#include "cpu/strides.h"

namespace cnnkern {

/// Multiplies each small integer by its window's divisor: quotients and their sums are integers.
inline void multiply_by_divisors(const AvgPoolProblem& p, void* gradients) {
  const cpu::Strides out = cpu::dense_strides(p.layout, p.c, p.output);
  dispatch(p.dtype, [&]<class T>(T value) {
    using A = accumulator_t<T>;
    for (int64_t i = 0; i < p.output_elements(); ++i) {
      const int64_t x = i % p.output.w, y = i / p.output.w % p.output.h;
      const int64_t z = i / (p.output.w * p.output.h) % p.output.d;
      const int64_t plane = i / p.output.volume();
      const int64_t counted =
          p.window_at(0, z).count * p.window_at(1, y).count * p.window_at(2, x).count;
      char* const at = static_cast<char*>(gradients) +
                       out.at(plane / p.c, plane % p.c, z, y, x) * static_cast<int64_t>(sizeof(T));
      std::memcpy(&value, at, sizeof(T));
      value = static_cast<T>(static_cast<A>(value) * static_cast<A>(p.divisor_of(counted)));
      std::memcpy(at, &value, sizeof(T));
    }
  });
}

}  // namespace cnnkern
