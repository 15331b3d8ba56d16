#define CNNKERN_CPU_ISA scalar
#define CNNKERN_VECTOR_BYTES 16
#include "cpu/pool/avg_pool_kernels.h"
