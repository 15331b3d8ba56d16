// Division rounded up: how many pieces of a size something falls into.
#pragma once

#include <cstdint>

namespace cnnkern {

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace cnnkern
