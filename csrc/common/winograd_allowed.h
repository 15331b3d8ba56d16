// Whether plans may take Winograd's algorithm.
#pragma once

#include <atomic>

namespace cnnkern {

/// A setting of the process, read by every plan on the CPU and on CUDA.
inline std::atomic<bool>& winograd_allowed() {
  static std::atomic<bool> allowed = true;
  return allowed;
}

constexpr const char* winograd_switched_off = "it is switched off (cnnkern.backends.winograd)";

}  // namespace cnnkern
