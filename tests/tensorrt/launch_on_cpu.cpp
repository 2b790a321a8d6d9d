// Implements launch.h of the plugin library on a CPU, with kernels of a library that the test names, see cuda_on_cpu.h.
#include "launch.h"

#include <dlfcn.h>

#include <string>

#define EXPORT extern "C" __attribute__((visibility("default")))

static void *kernels = nullptr;
static std::string last;

EXPORT void use_kernels(char const *path) { kernels = dlopen(path, RTLD_NOW); }
EXPORT char const *last_launch() { return last.c_str(); }

char const *launch(char const *kernel, unsigned gridX, unsigned gridY, void **arguments, cudaStream_t) {
  using Kernel = int (*)(unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void **, unsigned);
  last = std::string(kernel) + " " + std::to_string(gridX) + " " + std::to_string(gridY);
  auto *run = kernels ? reinterpret_cast<Kernel>(dlsym(kernels, (std::string(kernel) + "_on_cpu").c_str())) : nullptr;
  if (!run) return "there is no such kernel";
  return run(gridX, gridY, 1, 256, 1, 1, arguments, 1) ? "it ended early" : nullptr;
}
