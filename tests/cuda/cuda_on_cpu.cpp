// Runs the CUDA threads of one block after another as fibers. Kernel side: cuda_on_cpu.h.
//
// Read from the bottom: run() takes the blocks of a grid in turn, run_block() the threads of a block, resume()
// continues one of them, and pause() interrupts it at a barrier. This file is compiled without sanitizers. If a kernel
// is built with them, this file tells them what they can't see: switches of stacks, and which memory a barrier orders.
#include "cuda_on_cpu.h"

#include <sys/mman.h>

#include <algorithm>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <vector>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

// ---- switching stacks: save callee-saved registers, change the stack pointer, return on the other stack

extern "C" void cuda_on_cpu_switch(void** save_stack_pointer, void* load_stack_pointer);

#if defined(__x86_64__)
asm(R"(
.text
.type cuda_on_cpu_switch, @function
.hidden cuda_on_cpu_switch
.globl cuda_on_cpu_switch
cuda_on_cpu_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
.size cuda_on_cpu_switch, . - cuda_on_cpu_switch
)");
constexpr int SAVED = 8, RETURN_ADDRESS = 6;  // six registers, the address, and one to align the stack at a call
#elif defined(__aarch64__)
asm(R"(
.text
.type cuda_on_cpu_switch, %function
.hidden cuda_on_cpu_switch
.globl cuda_on_cpu_switch
cuda_on_cpu_switch:
  sub sp, sp, #160
  stp x29, x30, [sp, #0]
  stp x19, x20, [sp, #16]
  stp x21, x22, [sp, #32]
  stp x23, x24, [sp, #48]
  stp x25, x26, [sp, #64]
  stp x27, x28, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x29, x30, [sp, #0]
  ldp x19, x20, [sp, #16]
  ldp x21, x22, [sp, #32]
  ldp x23, x24, [sp, #48]
  ldp x25, x26, [sp, #64]
  ldp x27, x28, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size cuda_on_cpu_switch, . - cuda_on_cpu_switch
)");
constexpr int SAVED = 20, RETURN_ADDRESS = 1;
#else
#error "cuda_on_cpu knows x86-64 and aarch64"
#endif

// ---- sanitizers: these symbols exist only if the kernels were built with them

#define IF_PRESENT __attribute__((weak))
extern "C" {
void* __tsan_get_current_fiber() IF_PRESENT;
void* __tsan_create_fiber(unsigned) IF_PRESENT;
void __tsan_destroy_fiber(void*) IF_PRESENT;
void __tsan_switch_to_fiber(void*, unsigned) IF_PRESENT;
void __tsan_acquire(void*) IF_PRESENT;
void __tsan_release(void*) IF_PRESENT;
void __tsan_java_init(uintptr_t, uintptr_t) IF_PRESENT;
void __tsan_java_alloc(uintptr_t, uintptr_t) IF_PRESENT;
void __tsan_java_free(uintptr_t, uintptr_t) IF_PRESENT;
void __sanitizer_start_switch_fiber(void**, const void*, size_t) IF_PRESENT;
void __sanitizer_finish_switch_fiber(void*, const void**, size_t*) IF_PRESENT;
void __asan_unpoison_memory_region(const volatile void*, size_t) IF_PRESENT;
// First and last byte of all __shared__ variables: the linker makes these names.
extern char __start_cuda_shared[], __stop_cuda_shared[];
}

namespace {

const bool tsan = __tsan_create_fiber != nullptr;
const bool asan = __sanitizer_start_switch_fiber != nullptr;

// TSan orders memory by addresses: what one fiber did before publish(a) comes before what another does after see(a).
// A block's barriers lie in its shared memory, because both are new for each block, see new_shared_memory().
__shared__ char block_order[2][8], warp_order[32][2][8];
char launch_begins[8], launch_ends[8];

void publish(void* address) {
  if (tsan) __tsan_release(address);
}
void see(void* address) {
  if (tsan) __tsan_acquire(address);
}

// ---- fibers

constexpr int MAX_THREADS = 1024, WARP = 32;
constexpr size_t STACK = 128 * 1024, GUARD = 64 * 1024;  // a multiple of every page size

enum State { RUNNABLE, AT_BARRIER, IN_WARP, LEFT };

struct Fiber {
  char* stack;  // its lowest byte; below it lies a guard, so that an overflow ends the process and nothing else
  void* stack_pointer;
  void* tsan_fiber = nullptr;
  void* asan_stack = nullptr;

  // The CUDA thread that this fiber runs, for one block.
  int number;
  uint3 index;
  State state = LEFT;
  unsigned barriers, warp_barriers;  // passed so far

  // What the fiber waits for.
  const char* function;
  int line;
  unsigned mask;
  uint64_t given;
  int source;
  cuda_on_cpu::Gathered gathered;
};

std::mutex one_launch_at_a_time;  // shared memory and threadIdx exist only once
std::vector<Fiber> fibers;        // of this launch, kept for the next
std::vector<Fiber*> threads;      // the same by the number of the thread
Fiber* running;
void* scheduler_stack_pointer;
void* scheduler_tsan_fiber;
void* scheduler_asan_stack;
const void* scheduler_stack;
size_t scheduler_stack_size;
void (*kernel_body)(void*);
void* kernel_argument;
thread_local std::string error;

void pause() {
  Fiber* self = running;
  if (asan) __sanitizer_start_switch_fiber(&self->asan_stack, scheduler_stack, scheduler_stack_size);
  if (tsan) __tsan_switch_to_fiber(scheduler_tsan_fiber, 1);
  cuda_on_cpu_switch(&self->stack_pointer, scheduler_stack_pointer);
  if (asan) __sanitizer_finish_switch_fiber(self->asan_stack, nullptr, nullptr);
}

void resume(Fiber& fiber) {
  running = &fiber;
  threadIdx = fiber.index;
  if (asan) __sanitizer_start_switch_fiber(&scheduler_asan_stack, fiber.stack, STACK);
  if (tsan) __tsan_switch_to_fiber(fiber.tsan_fiber, 1);
  cuda_on_cpu_switch(&scheduler_stack_pointer, fiber.stack_pointer);
  if (asan) __sanitizer_finish_switch_fiber(scheduler_asan_stack, nullptr, nullptr);
}

// Where every fiber begins: it runs the kernel once for each block.
void live() {
  if (asan) __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_stack_size);
  for (;;) {
    see(launch_begins);
    kernel_body(kernel_argument);
    publish(launch_ends);
    running->state = LEFT;
    pause();
  }
}

// A stack that looks as if live() had called cuda_on_cpu_switch() at its first instruction.
void prepare(Fiber& fiber) {
  if (__asan_unpoison_memory_region) __asan_unpoison_memory_region(fiber.stack, STACK);
  void** top = reinterpret_cast<void**>(fiber.stack + STACK) - SAVED;
  std::fill(top, top + SAVED, nullptr);
  top[RETURN_ADDRESS] = reinterpret_cast<void*>(live);
  fiber.stack_pointer = top;
  fiber.asan_stack = nullptr;
}

void make_fibers(size_t count) {
  while (fibers.size() < count) {
    void* memory = mmap(nullptr, GUARD + STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    mprotect(memory, GUARD, PROT_NONE);
    Fiber fiber{};
    fiber.stack = static_cast<char*>(memory) + GUARD;
    if (tsan) fiber.tsan_fiber = __tsan_create_fiber(0);
    prepare(fiber);
    fibers.push_back(fiber);
  }
}

// Threads that never finished are abandoned together with the contents of their stacks.
void abandon_fibers() {
  for (Fiber& fiber : fibers) {
    if (fiber.state == LEFT) continue;
    fiber.state = LEFT;
    if (tsan) {
      __tsan_destroy_fiber(fiber.tsan_fiber);
      fiber.tsan_fiber = __tsan_create_fiber(0);
    }
    prepare(fiber);
  }
}

// ---- one block

using Random = std::mt19937;

// Shared memory of a new block is undefined. Here it is filled with garbage that depends on the seed, so a kernel that
// reads memory it never wrote gives different results for different seeds.
void new_shared_memory(Random& random) {
  char *begin = __start_cuda_shared, *end = __stop_cuda_shared;
  // Tell TSan that no earlier block has touched this memory and these barriers.
  if (tsan) {
    static uintptr_t first = (uintptr_t(begin) + 7) & ~uintptr_t(7), size = (uintptr_t(end) - first) & ~uintptr_t(7);
    static bool known = (__tsan_java_init(first, size), true);
    (void)known;
    __tsan_java_free(first, size);
    __tsan_java_alloc(first, size);
  }
  // Byte by byte through volatile: ASan would report a memset() as crossing from one variable into the next.
  uint32_t word = random();
  for (volatile char* byte = begin; byte < end; ++byte) {
    *byte = char(word >> 24);
    word = word * 1664525 + 1013904223;
  }
}

std::string text(uint3 i) {
  return "(" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) + ")";
}

std::string describe(const Fiber& thread) {
  std::string name = "thread " + text(thread.index);
  if (thread.state == LEFT) return name + " has left the kernel";
  return name + " waits at " + thread.function + " in line " + std::to_string(thread.line);
}

bool wait_together(const Fiber& a, const Fiber& b) {
  return a.state == b.state && (a.state == LEFT || (a.line == b.line && std::strcmp(a.function, b.function) == 0));
}

// Describes two threads whose states contradict each other.
std::string disagreement() {
  for (Fiber* a : threads) {
    if (a->state != IN_WARP) continue;
    if (!(a->mask >> a->number % WARP & 1)) return describe(*a) + " with a mask that does not hold it";
    for (Fiber* b : threads) {
      if (b->number / WARP != a->number / WARP || b->state == LEFT || !(a->mask >> b->number % WARP & 1)) continue;
      if (!wait_together(*a, *b)) return describe(*a) + ", but " + describe(*b);
      if (a->mask != b->mask) return describe(*a) + ", and " + describe(*b) + " with another mask";
    }
  }
  auto at_barrier = [](Fiber* thread) { return thread->state == AT_BARRIER; };
  Fiber* a = *std::find_if(threads.begin(), threads.end(), at_barrier);
  Fiber* b = *std::find_if(threads.begin(), threads.end(), [a](Fiber* other) { return !wait_together(*a, *other); });
  return describe(*a) + ", but " + describe(*b);
}

// Resumes the lanes of a warp whose partners have all arrived; first is the number of lane 0. Returns whether any were.
bool release_warp(int first) {
  Fiber** lanes = &threads[first];
  int count = std::min(WARP, int(threads.size()) - first);
  bool any = false;
  for (int i = 0; i < count; ++i) {
    if (lanes[i]->state != IN_WARP) continue;
    const Fiber caller = *lanes[i];
    unsigned expected = 0, ballot = 0;
    bool complete = caller.mask >> i & 1;
    for (int j = 0; j < count; ++j) {
      if (!(caller.mask >> j & 1) || lanes[j]->state == LEFT) continue;  // lanes that have left need not come
      expected |= 1u << j;
      ballot |= unsigned(lanes[j]->given != 0) << j;
      complete = complete && wait_together(caller, *lanes[j]) && lanes[j]->mask == caller.mask;
    }
    if (!complete) continue;
    any = true;
    for (int j = 0; j < count; ++j) {
      if (!(expected >> j & 1)) continue;
      int source = lanes[j]->source;
      bool took_part = source < count && (expected >> source & 1);
      lanes[j]->gathered = {took_part ? lanes[source]->given : 0xDEADBEEFDEADBEEFull, ballot};
      lanes[j]->state = RUNNABLE;
    }
  }
  return any;
}

// Resumes the whole block if all its threads wait at the same __syncthreads(). Threads that have left the kernel are an
// error: GPUs since Volta tolerate it, but CUDA's language does not allow it.
bool release_block() {
  for (Fiber* thread : threads)
    if (thread->state != AT_BARRIER || thread->line != threads[0]->line) return false;
  for (Fiber* thread : threads) thread->state = RUNNABLE;
  return true;
}

// Runs a block; returns whether all its threads finished. crew: the first of the fibers to use.
bool run_block(Fiber* crew, unsigned seed, Random& random) {
  new_shared_memory(random);
  int count = int(threads.size());
  for (int i = 0; i < count; ++i) {
    Fiber& fiber = crew[i];
    fiber.number = i;
    fiber.index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
    fiber.state = RUNNABLE;
    fiber.barriers = fiber.warp_barriers = 0;
    threads[i] = &fiber;
  }
  std::vector<Fiber*> turns = threads;
  if (seed) std::shuffle(turns.begin(), turns.end(), random);
  for (;;) {
    for (Fiber* fiber : turns)
      if (fiber->state == RUNNABLE) resume(*fiber);
    if (std::all_of(threads.begin(), threads.end(), [](Fiber* thread) { return thread->state == LEFT; })) return true;
    bool any = false;
    for (int first = 0; first < count; first += WARP) any |= release_warp(first);
    if (!any && !release_block()) return false;
  }
}

}  // namespace

// ---- functions declared in cuda_on_cpu.h

namespace cuda_on_cpu {

int lane() { return running->number % WARP; }

void barrier(int line) {
  Fiber* self = running;
  // Two addresses alternate: no thread publishes at the third barrier before all have seen the first.
  char* order = block_order[self->barriers++ % 2];
  self->function = "__syncthreads()";
  self->line = line;
  self->mask = 0;
  self->state = AT_BARRIER;
  publish(order);
  pause();
  see(order);
}

Gathered warp_exchange(const char* function, unsigned mask, uint64_t value, int source, int line) {
  Fiber* self = running;
  self->function = function;
  self->line = line;
  self->mask = mask;
  self->given = value;
  self->source = source;
  self->state = IN_WARP;
  pause();
  return self->gathered;
}

// The only one of the warp's functions that orders memory.
void warp_barrier(unsigned mask, int line) {
  Fiber* self = running;
  char* order = warp_order[self->number / WARP][self->warp_barriers++ % 2];
  publish(order);
  warp_exchange("__syncwarp()", mask, 0, lane(), line);
  see(order);
}

int run(const char* kernel, void (*body)(void*), void* argument, dim3 grid, dim3 block, unsigned seed) {
  std::lock_guard<std::mutex> lock(one_launch_at_a_time);
  error.clear();
  size_t count = size_t(block.x) * block.y * block.z, blocks = size_t(grid.x) * grid.y * grid.z;
  if (count < 1 || count > MAX_THREADS || blocks < 1) {
    error = std::string(kernel) + ": a grid of " + text({grid.x, grid.y, grid.z}) + " blocks of " +
            text({block.x, block.y, block.z}) + " threads cannot be launched";
    return 1;
  }
  kernel_body = body;
  kernel_argument = argument;
  gridDim = grid;
  blockDim = block;
  // To TSan a fiber is a thread, whose actions are ordered. Blocks alternate between two crews of fibers with no order
  // between them, so that TSan sees a block race with the one before.
  int crews = tsan ? 2 : 1;
  make_fibers(count * crews);
  threads.assign(count, nullptr);
  if (tsan) scheduler_tsan_fiber = __tsan_get_current_fiber();

  Random random(seed);
  std::vector<size_t> order(blocks);
  std::iota(order.begin(), order.end(), size_t(0));
  if (seed) std::shuffle(order.begin(), order.end(), random);
  publish(launch_begins);
  for (size_t turn = 0; turn < blocks; ++turn) {
    size_t i = order[turn];
    blockIdx = {unsigned(i % grid.x), unsigned(i / grid.x % grid.y), unsigned(i / grid.x / grid.y)};
    if (!run_block(&fibers[turn % crews * count], seed, random)) {
      error = std::string(kernel) + ": block " + text(blockIdx) + ": " + disagreement();
      abandon_fibers();
      break;
    }
  }
  see(launch_ends);
  return error.empty() ? 0 : 1;
}

}  // namespace cuda_on_cpu

const char* cuda_on_cpu_error() { return error.c_str(); }
