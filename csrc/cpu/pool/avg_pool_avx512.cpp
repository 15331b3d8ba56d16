#define CNNKERN_CPU_ISA avx512
#define CNNKERN_VECTOR_BYTES 64
#include "cpu/pool/avg_pool_kernels.h"
