// What all kernels share: sizes of blocks, FP16 in memory, a warp's sum.
#pragma once
#ifdef CUDA_ON_CPU
#include "cuda_on_cpu.h"
#endif

#define THREADS 256   // threads of a block, in every kernel
#define WARPS 8       // of 32 threads each
#define BLOCKS 4      // blocks at once on a multiprocessor: sets the registers a thread may use, enough not to spill
#define TILE 32       // default boxes per block of decode
#define CAPACITY 1024 // largest K and M; a power of two
#define MERGERS 8     // blocks of merge that share an image

typedef unsigned long long u64;

// ---------------------------------------------------------------- FP16 in memory, FP32 in registers
// Written without NVIDIA's headers, which a device without the CUDA toolkit lacks.
struct Half {
  unsigned short bits;
};
#ifdef CUDA_ON_CPU
inline float load(const Half *from) {
  _Float16 value;
  memcpy(&value, from, sizeof value);
  return value;
}
inline void store(Half *to, float value) {
  _Float16 rounded = static_cast<_Float16>(value);
  memcpy(to, &rounded, sizeof rounded);
}
#else
__device__ inline float load(const Half *from) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(from->bits));
  return value;
}
__device__ inline void store(Half *to, float value) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to->bits) : "f"(value)); }
#endif
__device__ inline float load(const float *from) { return *from; }
__device__ inline void store(float *to, float value) { *to = value; }
