#include "cpu/isa.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace cnnkern::cpu {

const char* to_string(Isa isa) {
  switch (isa) {
    case Isa::scalar: return "scalar";
    case Isa::avx2: return "avx2";
    default: return "avx512";
  }
}

Isa detect_isa() {
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (avx2) return avx512 ? Isa::avx512 : Isa::avx2;
#endif
  return Isa::scalar;
}

Isa current_isa() {
  static const Isa detected = detect_isa();
  const char* const wanted = std::getenv("CNNKERN_ISA");
  if (!wanted || !*wanted) return detected;
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
    if (std::string(to_string(isa)) != wanted) continue;
    if (isa <= detected) return isa;
    throw std::runtime_error(std::string("CNNKERN_ISA=") + wanted +
                             " is not supported by this CPU, whose widest instruction set is " +
                             to_string(detected));
  }
  throw std::runtime_error(std::string("CNNKERN_ISA=") + wanted +
                           " is unknown; use scalar, avx2 or avx512");
}

}  // namespace cnnkern::cpu
