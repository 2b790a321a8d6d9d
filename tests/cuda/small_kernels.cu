// Small kernels: each uses one feature that CUDA on a CPU must get right, or makes one mistake that it must detect.
#include "cuda_on_cpu.h"

extern "C" __global__ void indices(uint3 *thread, uint3 *block, uint3 *sizes) {
  int in_block = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  int block_number = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  int i = block_number * (blockDim.x * blockDim.y * blockDim.z) + in_block;
  thread[i] = threadIdx;
  block[i] = blockIdx;
  sizes[2 * i] = {blockDim.x, blockDim.y, blockDim.z};
  sizes[2 * i + 1] = {gridDim.x, gridDim.y, gridDim.z};
}

// One row of results per function; threads of a block in a column each.
extern "C" __global__ void shuffles(const double *value, int how_far, double *result) {
  int t = threadIdx.x, n = blockDim.x;
  double mine = value[t];
  result[0 * n + t] = __shfl_xor_sync(~0u, mine, how_far);
  result[1 * n + t] = __shfl_down_sync(~0u, mine, how_far);
  result[2 * n + t] = __shfl_up_sync(~0u, mine, how_far);
  result[3 * n + t] = __shfl_sync(~0u, mine, how_far);
}

extern "C" __global__ void ballots(const int *predicate, unsigned *result) {
  int t = threadIdx.x, half = t % 32 / 16;
  unsigned here = half ? 0xffff0000u : 0x0000ffffu;
  result[t] = __ballot_sync(~0u, predicate[t]);
  // The halves of a warp diverge and meet again.
  if (half) __syncwarp(here);
  result[blockDim.x + t] = __ballot_sync(here, predicate[t]);
  __syncwarp();
}

// Reads from a lane that does not take part.
extern "C" __global__ void shuffle_from_nobody(unsigned *result) {
  if (threadIdx.x < 16) result[threadIdx.x] = __shfl_sync(0xffffu, threadIdx.x, 20);
}

extern "C" __global__ void lanes_leave(unsigned *result) {
  if (threadIdx.x % 2) return;
  result[threadIdx.x] = __ballot_sync(~0u, 1);
}

// Reversed within each block, through shared memory, several times over.
extern "C" __global__ void reverse(const int *from, int rounds, int *to) {
  __shared__ int held[2][1024];
  int t = threadIdx.x, n = blockDim.x, i = blockIdx.x * n + t;
  int value = from[i];
  for (int round = 0; round < rounds; ++round) {
    held[round % 2][t] = value;
    __syncthreads();
    value = held[round % 2][n - 1 - t];
  }
  to[i] = value;
}

extern "C" __global__ void count(const int *bin, int *counts, unsigned *number, int *largest) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  atomicAdd(&counts[bin[i]], 1);
  atomicAdd(number, 1u);
  atomicMax(largest, bin[i]);
}

// Records the order in which blocks, and the threads of a block, run.
extern "C" __global__ void order(int *turn_of_block, int *turn_of_thread, int *turns) {
  __shared__ int block_turn;
  if (threadIdx.x == 0) block_turn = atomicAdd(&turns[0], 1);
  __syncthreads();
  if (threadIdx.x == 0) turn_of_block[blockIdx.x] = block_turn;
  int thread_turn = atomicAdd(&turns[1], 1);
  turn_of_thread[blockIdx.x * blockDim.x + threadIdx.x] = thread_turn - block_turn * int(blockDim.x);
}

extern "C" __global__ void unwritten_shared_memory(unsigned *seen) {
  __shared__ unsigned never_written[64];
  int i = blockIdx.x * 64 + threadIdx.x;
  seen[i] = never_written[threadIdx.x];
  never_written[threadIdx.x] = 7;
}

// Keeps callee-saved registers, including floating-point ones, live across a barrier.
extern "C" __global__ void registers(const float *x, float *sum) {
  float a = x[0], b = x[1], c = x[2], d = x[3], total = 0.0f;
  long long p = threadIdx.x, q = p * p, r = q * 3, s = r - p;
  for (int i = 0; i < 50; ++i) {
    __syncthreads();
    total += a * b - c * d;
    p += q - r + s;
  }
  sum[threadIdx.x] = total + static_cast<float>(p);
}

extern "C" __global__ void multiply_add(const float *a, const float *b, const float *c, float *result) {
  int i = threadIdx.x;
  result[i] = a[i] * b[i] + c[i];
}

extern "C" __global__ void extremes(const float *a, const float *b, float *result, int *integers) {
  int i = threadIdx.x, n = blockDim.x;
  result[0 * n + i] = min(a[i], b[i]);
  result[1 * n + i] = max(a[i], b[i]);
  result[2 * n + i] = __int_as_float(__float_as_int(a[i]));
  integers[0 * n + i] = min(i, 5);
  integers[1 * n + i] = __clz(i);
  integers[2 * n + i] = __ffs(i);
  integers[3 * n + i] = __popc(i);
}

// ---- mistakes

extern "C" __global__ void part_at_barrier(int *result) {
  if (threadIdx.x < 100) __syncthreads();
  result[threadIdx.x] = 1;
}

extern "C" __global__ void two_barriers(int *result) {
  if (threadIdx.x < 64)
    __syncthreads();
  else
    __syncthreads();
  result[threadIdx.x] = 1;
}

extern "C" __global__ void lane_at_barrier(int *result) {
  if (threadIdx.x == 5) __syncthreads();
  result[threadIdx.x] = __shfl_xor_sync(~0u, 1, 1);
  if (threadIdx.x != 5) __syncthreads();
}

extern "C" __global__ void two_masks(int *result) {
  unsigned mask = threadIdx.x < 16 ? 0xffffffffu : 0xffff0000u | 1u;
  result[threadIdx.x] = __ballot_sync(mask, 1);
}

extern "C" __global__ void not_in_mask(int *result) {
  result[threadIdx.x] = __ballot_sync(0xfffffffeu, 1);
}

// Data races, which only ThreadSanitizer reports: in a fixed order of threads and blocks the results are right.

extern "C" __global__ void shuffle_as_barrier(int *result) {
  __shared__ int held[32];
  int t = threadIdx.x;
  held[t] = t;
  int lane = __shfl_xor_sync(~0u, t, 1);  // orders no memory
  result[t] = held[lane];
}

// No barrier of one block orders anything in another.
extern "C" __global__ void blocks_share_a_number(int *number) {
  if (blockIdx.x % 2 == 0 && threadIdx.x == 0) *number = 1;
  __syncthreads();
  if (blockIdx.x % 2 == 1 && threadIdx.x == 0) *number = 1;
}

EXPORT_KERNEL(indices)
EXPORT_KERNEL(shuffles)
EXPORT_KERNEL(ballots)
EXPORT_KERNEL(shuffle_from_nobody)
EXPORT_KERNEL(lanes_leave)
EXPORT_KERNEL(reverse)
EXPORT_KERNEL(count)
EXPORT_KERNEL(order)
EXPORT_KERNEL(unwritten_shared_memory)
EXPORT_KERNEL(registers)
EXPORT_KERNEL(multiply_add)
EXPORT_KERNEL(extremes)
EXPORT_KERNEL(part_at_barrier)
EXPORT_KERNEL(two_barriers)
EXPORT_KERNEL(lane_at_barrier)
EXPORT_KERNEL(two_masks)
EXPORT_KERNEL(not_in_mask)
EXPORT_KERNEL(shuffle_as_barrier)
EXPORT_KERNEL(blocks_share_a_number)
