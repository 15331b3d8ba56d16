#define CNNKERN_CPU_ISA avx2
#define CNNKERN_VECTOR_BYTES 32
#include "cpu/pool/max_pool_backward.h"
#include "cpu/pool/pool_kernels.h"
