#define CNNKERN_CPU_ISA avx512
#define CNNKERN_VECTOR_BYTES 64
#include "cpu/pool/max_pool_backward.h"
#include "cpu/pool/pool_kernels.h"
