// Modules, and launches of their kernels: each is a NAME_on_cpu() of the library that emulated_kernels() names.
#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "driver.h"

namespace {

void* library = nullptr;
unsigned launches = 0;  // seed for the order of blocks and threads, different for each launch

Kernel* kernel_of(Handle handle) {
  for (auto& module : modules.made)
    for (auto& entry : module.second->kernels)
      if (&entry.second == handle) return entry.second.context == current_context() ? &entry.second : nullptr;
  return nullptr;
}

// Copies from an address that may be invalid: the operating system reports it, and the process survives.
bool readable(void* target, const void* source, size_t bytes) {
  static int ends[2], made = pipe(ends);
  return made == 0 && write(ends[1], source, bytes) == ssize_t(bytes) && read(ends[0], target, bytes) == ssize_t(bytes);
}

// Packs the parameters' values at their offsets; empty if the arguments do not match the kernel's parameters.
std::vector<char> values_of(const Kernel& kernel, void** parameters, void** extra) {
  size_t size = 0;
  for (const Parameter& parameter : kernel.parameters) size = std::max<size_t>(size, parameter.offset + parameter.size);
  std::vector<char> values(size);
  if (extra) {  // CU_LAUNCH_PARAM_BUFFER_POINTER (1), a buffer, CU_LAUNCH_PARAM_BUFFER_SIZE (2), its size, the end (0)
    size_t given = 0;
    const char* buffer = nullptr;
    for (; *extra; extra += 2) {
      if (uintptr_t(extra[0]) == 1) buffer = static_cast<char*>(extra[1]);
      if (uintptr_t(extra[0]) == 2) given = *static_cast<size_t*>(extra[1]);
    }
    if (given != size) return {};
    std::copy(buffer, buffer + size, values.begin());
    return values;
  }
  for (size_t i = 0; i < kernel.parameters.size(); ++i) {
    void* value;
    const Parameter& parameter = kernel.parameters[i];
    if (!readable(&value, parameters + i, sizeof value)) return {};
    if (!readable(&values[parameter.offset], value, parameter.size)) return {};
  }
  return values;
}

// Kernels use the CPU's addresses; every argument of eight bytes must be a device address, and is translated.
Result execute(const Kernel& kernel, const unsigned (&shape)[6], std::vector<char> values) {
  std::vector<void*> arguments;
  for (const Parameter& parameter : kernel.parameters) {
    char* value = &values[parameter.offset];
    if (parameter.size == sizeof(Address)) {
      Address address;
      std::memcpy(&address, value, sizeof address);
      char* host = on_host(address, 1);
      if (!host) {
        std::string place = std::to_string(arguments.size());
        return refuse(ILLEGAL_ADDRESS, kernel.name + ": argument " + place + " is no device memory");
      }
      std::memcpy(value, &host, sizeof host);
    }
    arguments.push_back(value);
  }
  const unsigned(&s)[6] = shape;
  if (kernel.on_cpu(s[0], s[1], s[2], s[3], s[4], s[5], arguments.data(), ++launches)) {
    auto why = reinterpret_cast<const char* (*)()>(dlsym(library, "cuda_on_cpu_error"));
    return refuse(LAUNCH_FAILED, why());
  }
  std::string beside = written_beside();
  return beside.empty() ? SUCCESS : refuse(ILLEGAL_ADDRESS, kernel.name + " wrote " + beside);
}

}  // namespace

EXPORT Result cuModuleLoadDataEx(Handle* handle, const char* image, unsigned options, int* option, void** value) {
  return call("cuModuleLoadData", CONTEXT | NO_CAPTURE, [&] {
    // The compiler's logs are empty: CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES.
    for (unsigned i = 0; i < options; ++i)
      if (option[i] == 4 || option[i] == 6) value[i] = nullptr;
    std::unique_ptr<Module> module(new Module{current_context(), {}});
    if (Result result = read_image(image, *module)) return result;
    for (auto& entry : module->kernels) {
      Kernel& kernel = entry.second;
      kernel.context = module->context;
      void* function = library ? dlsym(library, (kernel.name + "_on_cpu").c_str()) : nullptr;
      if (!function) return refuse(NOT_SUPPORTED, "no " + kernel.name + "_on_cpu() to run: see emulated_kernels()");
      kernel.on_cpu = reinterpret_cast<decltype(kernel.on_cpu)>(function);
    }
    *handle = modules.add(module.release());
    return SUCCESS;
  });
}

EXPORT Result cuModuleLoadData(Handle* handle, const char* image) {
  return cuModuleLoadDataEx(handle, image, 0, nullptr, nullptr);
}

EXPORT Result cuModuleUnload(Handle handle) {
  return call("cuModuleUnload", CONTEXT | NO_CAPTURE | GIVES_BACK, [&] {
    return modules.made.erase(handle) ? SUCCESS : INVALID_HANDLE;
  });
}

EXPORT Result cuModuleGetFunction(Handle* function, Handle handle, const char* name) {
  return call("cuModuleGetFunction", CONTEXT, [&] {
    Module* module = modules.find(handle);
    if (!module || module->context != current_context()) return INVALID_HANDLE;
    auto kernel = module->kernels.find(name);
    if (kernel == module->kernels.end()) return NOT_FOUND;
    *function = &kernel->second;
    return SUCCESS;
  });
}

// An older call to set the block's size, which pycuda still makes before it passes the size to cuLaunchKernel().
EXPORT Result cuFuncSetBlockShape(Handle function, int, int, int) {
  return call("cuFuncSetBlockShape", CONTEXT, [&] { return kernel_of(function) ? SUCCESS : INVALID_HANDLE; });
}

EXPORT Result cuLaunchKernel(Handle function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                             unsigned bz, unsigned shared, Handle handle, void** parameters, void** extra) {
  return call("cuLaunchKernel", CONTEXT, [&] {
    Kernel* kernel = kernel_of(function);
    Stream* stream = stream_of(handle);
    if (!kernel || !stream) return INVALID_HANDLE;
    // CUDA C++ Programming Guide, "Technical Specifications per Compute Capability"
    uint64_t threads = uint64_t(bx) * by * bz;
    bool grid = gx >= 1 && gy >= 1 && gz >= 1 && gx <= 0x7fffffff && gy <= 65535 && gz <= 65535;
    bool block = threads >= 1 && bx <= 1024 && by <= 1024 && bz <= 64 && threads <= kernel->max_threads;
    if (!grid || !block) return refuse(INVALID_VALUE, kernel->name + ": no such grid or block");
    if (kernel->shared + shared > 48 * 1024) return refuse(INVALID_VALUE, kernel->name + ": too much shared memory");
    if (shared) return refuse(NOT_SUPPORTED, "dynamic shared memory is not emulated");
    std::vector<char> values = values_of(*kernel, parameters, extra);
    if (values.empty()) return refuse(INVALID_VALUE, kernel->name + ": the arguments are not those that it takes");
    std::vector<Address> uses;
    for (const Parameter& parameter : kernel->parameters)
      if (parameter.size == sizeof(Address)) {
        uses.emplace_back();
        std::memcpy(&uses.back(), &values[parameter.offset], sizeof(Address));
      }
    auto work = [copy = *kernel, shape = std::vector<unsigned>{gx, gy, gz, bx, by, bz}, values] {
      const unsigned s[6] = {shape[0], shape[1], shape[2], shape[3], shape[4], shape[5]};
      return execute(copy, s, values);
    };
    return submit(*stream, {work, uses, nullptr, nullptr});
  });
}

// ---- for the tests

// Sets the library with the kernels; nonzero if it cannot be loaded.
EXPORT int emulated_kernels(const char* path) {
  library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  return library ? 0 : 1;
}
