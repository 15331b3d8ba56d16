// A kernel of your own in the emulator; docs/emulator.md builds and debugs it.
#include <cstdio>
#include <stdexcept>

#include "cuda/primitives/ldst.cuh"
#include "cuda/primitives/shared.cuh"

using namespace cnnkern::CNNKERN_CUDA_NAMESPACE;

struct SharedStorage {
  float value[64];
};

// Moves every value one place to the left; the first becomes the last. One line is missing.
__global__ void rotate_left(float* data) {
  CNNKERN_SHARED(SharedStorage, shared);
  const int i = static_cast<int>(threadIdx.x);
  store_shared(&shared.value[i], load_global<float>(data + i));
  store_global(data + i, load_shared<float>(&shared.value[(i + 1) % 64]));
}

int main() try {
  float data[64];
  for (int i = 0; i < 64; ++i) data[i] = static_cast<float>(i);
  CNNKERN_LAUNCH(rotate_left, 1, 64, sizeof(SharedStorage), nullptr, data);
  for (int i = 0; i < 64; ++i) std::printf("%g ", data[i]);
  std::printf("\n");
} catch (const std::runtime_error& error) {
  std::printf("%s\n", error.what());
  return 1;
}
