#define CNNKERN_CPU_ISA scalar
#define CNNKERN_VECTOR_BYTES 16
#define CNNKERN_TILE_ROWS 6
#include "cpu/conv/winograd_kernels.h"
