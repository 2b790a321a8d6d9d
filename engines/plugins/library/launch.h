// The one CUDA call that the plugins need: implemented by launch.cu on a GPU, and by a C++ file on a CPU in the tests.
#pragma once

#include <cuda_runtime_api.h>

constexpr unsigned kTile = 32;   // TILE of the kernels: default boxes per block of decode
constexpr unsigned kMergers = 8; // MERGERS of the kernels: blocks of merge that share an image

// Launches a kernel of kernels.cu with the addresses of its arguments. Returns null, or why it failed.
char const *launch(char const *kernel, unsigned gridX, unsigned gridY, void **arguments, cudaStream_t stream);
