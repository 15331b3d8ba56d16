#define CNNKERN_CPU_ISA avx512
#define CNNKERN_VECTOR_BYTES 64
#define CNNKERN_TILE_ROWS 14
#include "cpu/conv/winograd_kernels.h"
