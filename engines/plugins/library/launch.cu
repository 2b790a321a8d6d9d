// Compiles the kernels into the library, and launches them by name.
#include "kernels.cu"
#include "launch.h"

#include <cstring>

static_assert(TILE == kTile && MERGERS == kMergers, "launch.h has other sizes than the kernels");

char const *launch(char const *kernel, unsigned gridX, unsigned gridY, void **arguments, cudaStream_t stream) {
  void const *functions[] = {
      reinterpret_cast<void const *>(ssd_decode_fp32), reinterpret_cast<void const *>(ssd_decode_fp16),
      reinterpret_cast<void const *>(ssd_select), reinterpret_cast<void const *>(ssd_merge)};
  char const *names[] = {"ssd_decode_fp32", "ssd_decode_fp16", "ssd_select", "ssd_merge"};
  for (int i = 0; i < 4; ++i) {
    if (std::strcmp(names[i], kernel)) continue;
    cudaError_t error = cudaLaunchKernel(functions[i], dim3(gridX, gridY), dim3(THREADS), arguments, 0, stream);
    return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
  }
  return "there is no such kernel";
}
