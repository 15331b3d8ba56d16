// Shared memory of a kernel: one struct, so that its size is sizeof and every array has a name.
//
//   struct SharedStorage { float a[2][8][128], b[2][8][128]; };
//   CNNKERN_SHARED(SharedStorage, shared);      // SharedStorage& shared, once in a kernel
//
// The launch passes sizeof(SharedStorage). The emulator fills it with NaN before the block starts.
#pragma once

#include "common/launch.h"

#if defined(CNNKERN_EMULATOR)

#include "emulator/device.h"

#define CNNKERN_SHARED(Storage, name)     \
  Storage& name = *static_cast<Storage*>( \
      ::cnnkern::emulator::shared_memory(sizeof(Storage), ::std::source_location::current()))

#else

#define CNNKERN_SHARED(Storage, name)                                     \
  extern __shared__ __align__(128) unsigned char cnnkern_shared_memory[]; \
  Storage& name = *reinterpret_cast<Storage*>(cnnkern_shared_memory)

#endif
