#define CNNKERN_CPU_ISA scalar
#define CNNKERN_VECTOR_BYTES 16
#include "cpu/pool/max_pool_backward.h"
#include "cpu/pool/pool_kernels.h"
