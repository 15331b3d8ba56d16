#define CNNKERN_CPU_ISA avx2
#define CNNKERN_VECTOR_BYTES 32
#include "cpu/pool/avg_pool_kernels.h"
