// What the plugins ask of CUDA: launch.cu does it on a GPU, and in the tests a C++ file does on a CPU.
#pragma once

#include <cuda_runtime_api.h>

constexpr unsigned kTile = 32; // TILE of kernels.cu: default boxes of a block of decode

// A launch of one of the kernels in kernels.cu with its arguments' addresses; null, or why it failed.
char const *launch(char const *kernel, unsigned gridX, unsigned gridY, void **arguments, cudaStream_t stream);
