// CUDA kernels compiled by g++ and executed on a CPU. This is what a kernel sees; cuda_on_cpu.cpp is what runs it.
//
// A kernel's source is included as it is, with CUDA_ON_CPU defined. Each CUDA thread is a fiber with its own stack; the
// fibers of a block take turns, and a fiber gives way only where CUDA makes threads wait for each other: at
// __syncthreads() and at the warp's *_sync() functions. Blocks run one after another, in an order drawn from a seed.
//
// The same as on a GPU: indices, shared memory, barriers, shuffles, ballots, atomics, IEEE float32 arithmetic (compile
// with -ffp-contract=off, like the GPU's code with -fmad=false). Also detected: a barrier that part of a block does not
// reach, and, in sanitizer builds, memory overruns and data races between threads and between blocks.
//
// Not the same: expf() and similar functions round as in the CPU's library; a thread that spins until another writes
// spins for ever; there is no weak memory order and no dynamic shared memory. __shared__ variables must be declared in
// kernels, not in inline functions or templates, whose variables the compiler puts where they can't be found.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
// All shared memory lies in one section, so that it can be filled with garbage before each block.
#define __shared__ static __attribute__((section("cuda_shared")))

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
#if defined(__aarch64__) && __GNUC__ < 13
using _Float16 = __fp16;  // what g++ called it there
#endif
struct alignas(16) float4 {  // aligned as on the GPU, where a float4 that is not is an error
  float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
struct alignas(8) int2 {
  int x, y;
};

// Indices of the running thread, set by the scheduler whenever it resumes a fiber.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

// ---- functions of the scheduler, used below

namespace cuda_on_cpu {

struct Gathered {
  uint64_t value;   // the source lane's value, garbage if it took no part
  unsigned ballot;  // bit i: lane i took part with a value other than zero
};

int lane();
void barrier(int line);
void warp_barrier(unsigned mask, int line);
Gathered warp_exchange(const char* function, unsigned mask, uint64_t value, int source, int line);
int run(const char* kernel, void (*body)(void*), void* argument, dim3 grid, dim3 block, unsigned seed);

template <class T>
T shuffle(const char* function, unsigned mask, T value, int source, int line) {
  static_assert(sizeof(T) <= sizeof(uint64_t) && std::is_trivially_copyable<T>::value, "no value for a shuffle");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = warp_exchange(function, mask, bits, source, line).value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace cuda_on_cpu

// ---- threads that wait for each other. The line is the caller's, for messages.

inline void __syncthreads(int line = __builtin_LINE()) { cuda_on_cpu::barrier(line); }

inline void __syncwarp(unsigned mask = ~0u, int line = __builtin_LINE()) { cuda_on_cpu::warp_barrier(mask, line); }

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int line = __builtin_LINE()) {
  return cuda_on_cpu::shuffle("__shfl_sync()", mask, value, source & 31, line);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int line = __builtin_LINE()) {
  return cuda_on_cpu::shuffle("__shfl_xor_sync()", mask, value, (cuda_on_cpu::lane() ^ bits) & 31, line);
}
template <class T>  // beyond the warp's end, a lane keeps its own value
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int line = __builtin_LINE()) {
  unsigned lane = cuda_on_cpu::lane();
  return cuda_on_cpu::shuffle("__shfl_down_sync()", mask, value, int(lane + delta < 32 ? lane + delta : lane), line);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int line = __builtin_LINE()) {
  unsigned lane = cuda_on_cpu::lane();
  return cuda_on_cpu::shuffle("__shfl_up_sync()", mask, value, int(delta <= lane ? lane - delta : lane), line);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
  return cuda_on_cpu::warp_exchange("__ballot_sync()", mask, predicate != 0, cuda_on_cpu::lane(), line).ballot;
}

// ---- atomics: relaxed, as CUDA's are, so that they order no other memory

template <class T>
T atomicAdd(T* address, T value) {
  return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
}
template <class T>
T atomicMax(T* address, T value) {
  T old = __atomic_load_n(address, __ATOMIC_RELAXED);
  while (old < value && !__atomic_compare_exchange_n(address, &old, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}

// ---- arithmetic that <cmath> lacks

inline int __float_as_int(float value) {
  int bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline float __int_as_float(int bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline unsigned __float_as_uint(float value) { return unsigned(__float_as_int(value)); }
inline float __uint_as_float(unsigned bits) { return __int_as_float(int(bits)); }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline int __ffsll(long long bits) { return __builtin_ffsll(bits); }
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by) {
  return unsigned((uint64_t(high) << 32 | low) >> (by & 31));
}
inline int __clz(int bits) { return bits ? __builtin_clz(unsigned(bits)) : 32; }

// CUDA's overloads. Mixed types are an error here, so that it is always clear which one is meant.
inline int min(int a, int b) { return b < a ? b : a; }
inline int max(int a, int b) { return a < b ? b : a; }
inline unsigned min(unsigned a, unsigned b) { return b < a ? b : a; }
inline unsigned max(unsigned a, unsigned b) { return a < b ? b : a; }
inline long long min(long long a, long long b) { return b < a ? b : a; }
inline long long max(long long a, long long b) { return a < b ? b : a; }
inline unsigned long long min(unsigned long long a, unsigned long long b) { return b < a ? b : a; }
inline unsigned long long max(unsigned long long a, unsigned long long b) { return a < b ? b : a; }
inline float min(float a, float b) { return fminf(a, b); }  // a number wins over NaN
inline float max(float a, float b) { return fmaxf(a, b); }

// ---- launching

namespace cuda_on_cpu {

template <class... Parameters, size_t... I>
void call(void (*kernel)(Parameters...), void** arguments, std::index_sequence<I...>) {
  kernel(*static_cast<std::remove_reference_t<Parameters>*>(arguments[I])...);
}

template <class... Parameters>
int launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, void** arguments, unsigned seed) {
  struct Call {
    void (*kernel)(Parameters...);
    void** arguments;
  } call_of_kernel{kernel, arguments};
  auto body = [](void* argument) {
    auto* c = static_cast<Call*>(argument);
    call(c->kernel, c->arguments, std::index_sequence_for<Parameters...>{});
  };
  return run(name, body, &call_of_kernel, grid, block, seed);
}

}  // namespace cuda_on_cpu

// Why the last launch of this host thread failed, in one sentence; "" if it did not.
extern "C" __attribute__((visibility("default"))) const char* cuda_on_cpu_error();

// Makes NAME_on_cpu(): arguments as cuLaunchKernel() takes them (args: a pointer to each argument), 0 for success. With
// seed 0, blocks and threads run in order of their numbers; any other seed shuffles both.
#define EXPORT_KERNEL(NAME)                                                                                        \
  extern "C" __attribute__((visibility("default"))) int NAME##_on_cpu(unsigned gx, unsigned gy, unsigned gz,       \
                                                                      unsigned bx, unsigned by, unsigned bz,       \
                                                                      void** args, unsigned seed) {                \
    return cuda_on_cpu::launch(#NAME, NAME, dim3{gx, gy, gz}, dim3{bx, by, bz}, args, seed);                        \
  }
