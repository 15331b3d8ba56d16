// Threads, handed in from above: kernels say what is independent, the caller brings the pool.
#pragma once

#include <cstdint>
#include <functional>

namespace cnnkern {

/// Calls body(begin, end) for disjoint ranges that cover [0, tasks), possibly at the same time.
/// How the range is cut depends on the number of threads: results must not depend on the cut.
using ParallelFor =
    std::function<void(int64_t tasks, const std::function<void(int64_t begin, int64_t end)>& body)>;

}  // namespace cnnkern
