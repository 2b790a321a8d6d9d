// Kernels for testing the host code: their output shows their arguments and the order in which they ran.
#ifdef CUDA_ON_CPU
#include "cuda_on_cpu.h"
#endif

// Grid, block and the scalars, between two addresses.
extern "C" __global__ void report(const int *from, int first, int second, int *to) {
  if (blockIdx.x + blockIdx.y + blockIdx.z + threadIdx.x + threadIdx.y + threadIdx.z) return;
  int values[9] = {int(gridDim.x),  int(gridDim.y),  int(gridDim.z), int(blockDim.x), int(blockDim.y),
                   int(blockDim.z), first,           second,         from[0]};
  for (int i = 0; i < 9; ++i) to[i] = values[i];
}

// Done in another order, the values differ: to = from * factor + term.
extern "C" __global__ void __launch_bounds__(64) step(const float *from, int count, int factor, int term, float *to) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) to[i] = from[i] * __int_as_float(factor) + __int_as_float(term);
}

// One too many.
extern "C" __global__ void overrun(int count, int *to) {
  int i = threadIdx.x;
  if (i <= count) to[i] = 0;
}

#ifdef CUDA_ON_CPU
EXPORT_KERNEL(report)
EXPORT_KERNEL(step)
EXPORT_KERNEL(overrun)
#endif
