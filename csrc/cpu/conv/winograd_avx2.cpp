#define CNNKERN_CPU_ISA avx2
#define CNNKERN_VECTOR_BYTES 32
#define CNNKERN_TILE_ROWS 6
#include "cpu/conv/winograd_kernels.h"
