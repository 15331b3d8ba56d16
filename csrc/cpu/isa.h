// The instruction sets that the CPU kernels are compiled for, and the choice among them at run
// time.
#pragma once

namespace cnnkern::cpu {

enum class Isa { scalar, avx2, avx512 };  // each contains the ones before it

const char* to_string(Isa isa);

/// The widest one this CPU runs. avx2 asks for FMA and F16C too, avx512 for F, BW, VL and DQ.
Isa detect_isa();

/// The environment's CNNKERN_ISA (scalar, avx2 or avx512) if set, else detect_isa(). Throws
/// std::runtime_error when it names no instruction set, or one this CPU lacks.
Isa current_isa();

}  // namespace cnnkern::cpu
