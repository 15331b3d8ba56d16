// The CUDA kernels on CPU tensors, in the SIMT emulator, under operators of their own
// (`cnnkern_emulator::`), and the Python module `_emulator` that steers it.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>

#include "common/device_caps.h"
#include "common/problem_string.h"
#include "common/trace.h"
#include "cuda/conv/conv_plan.h"
#include "cuda/pool/pool_plan.h"
#include "emulator/emulator.h"
#include "torch/forced_kernel.h"
#include "torch/operators.h"

// The launchers exist once per architecture path.
#define CNNKERN_CUDA_NAMESPACE emulated_sm75
#include "cuda/conv/conv_launch.h"
#include "cuda/pool/pool_launch.h"
#undef CNNKERN_CUDA_NAMESPACE
