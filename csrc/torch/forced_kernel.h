// Tests and benchmarks may name the one kernel to use; everybody else leaves these empty.
#pragma once

#include <string>

namespace cnnkern {

inline std::string& forced_conv_kernel() {
  static std::string name;
  return name;
}

inline std::string& forced_pool_kernel() {
  static std::string name;
  return name;
}

inline std::string& forced_avg_pool_kernel() {
  static std::string name;
  return name;
}

inline std::string& forced_window_pool_kernel() {
  static std::string name;
  return name;
}

inline std::string& forced_unfold_kernel() {
  static std::string name;
  return name;
}

}  // namespace cnnkern
