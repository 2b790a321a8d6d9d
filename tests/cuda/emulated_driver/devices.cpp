// The driver's start, devices and contexts: one primary context for each device, and those that a program makes.
#include <dlfcn.h>

#include <cstdio>
#include <set>

#include "driver.h"

namespace {

thread_local std::vector<Context*> stack;  // of current contexts: the last one is current

// Contexts of earlier tests, whose objects may be collected late: pycuda then enters their context once more, and
// aborts the process if that is refused.
std::set<Context*> forgotten;

bool is_device(int device) { return device >= 0 && device < machine.devices; }

Context* primary_of(int device) {
  for (auto& entry : contexts.made)
    if (entry.second->primary && entry.second->device == device) return entry.second.get();
  return nullptr;
}

}  // namespace

Context* current_context() { return stack.empty() ? nullptr : contexts.find(stack.back()); }

void forget_contexts() {
  for (auto& entry : contexts.made) forgotten.insert(entry.second.get());
  contexts.made.clear();
  stack.clear();
}

EXPORT Result cuInit(unsigned) {
  return call("cuInit", NOTHING, [&] {
    if (asleep || machine.devices < 1) return NO_DEVICE;
    started = true;
    return SUCCESS;
  });
}

EXPORT Result cuDriverGetVersion(int* release) {
  return call("cuDriverGetVersion", NOTHING, [&] {
    *release = machine.release;
    return SUCCESS;
  });
}

// ---- devices: their handle is their number

EXPORT Result cuDeviceGetCount(int* count) {
  return call("cuDeviceGetCount", STARTED, [&] {
    *count = machine.devices;
    return SUCCESS;
  });
}

EXPORT Result cuDeviceGet(int* device, int number) {
  return call("cuDeviceGet", STARTED, [&] {
    if (!is_device(number)) return INVALID_DEVICE;
    *device = number;
    return SUCCESS;
  });
}

EXPORT Result cuDeviceGetName(char* name, int size, int device) {
  return call("cuDeviceGetName", STARTED, [&] {
    if (!is_device(device)) return INVALID_DEVICE;
    std::snprintf(name, size_t(size), "Emulated GPU %d", device);
    return SUCCESS;
  });
}

EXPORT Result cuDeviceGetAttribute(int* value, int attribute, int device) {
  return call("cuDeviceGetAttribute", STARTED, [&] {
    if (!is_device(device)) return INVALID_DEVICE;
    // INTEGRATED, COMPUTE_CAPABILITY_MAJOR, _MINOR
    const std::map<int, int> known = {{18, machine.integrated}, {75, machine.major}, {76, machine.minor}};
    auto entry = known.find(attribute);
    if (entry == known.end()) return INVALID_VALUE;
    *value = entry->second;
    return SUCCESS;
  });
}

EXPORT Result cuDeviceComputeCapability(int* major, int* minor, int device) {
  return call("cuDeviceComputeCapability", STARTED, [&] {
    if (!is_device(device)) return INVALID_DEVICE;
    *major = machine.major;
    *minor = machine.minor;
    return SUCCESS;
  });
}

// ---- contexts

EXPORT Result cuDevicePrimaryCtxRetain(Context** context, int device) {
  return call("cuDevicePrimaryCtxRetain", STARTED, [&] {
    if (!is_device(device)) return INVALID_DEVICE;
    Context* primary = primary_of(device);
    if (!primary) primary = contexts.add(new Context{device, true});
    ++primary->uses;
    *context = primary;
    return SUCCESS;
  });
}

EXPORT Result cuDevicePrimaryCtxRelease_v2(int device) {
  return call("cuDevicePrimaryCtxRelease", STARTED | GIVES_BACK, [&] {
    Context* primary = primary_of(device);
    if (!primary) return INVALID_CONTEXT;
    if (--primary->uses == 0) contexts.made.erase(primary);
    return SUCCESS;
  });
}

EXPORT Result cuCtxCreate_v4(Context** context, void*, unsigned, int device) {
  return call("cuCtxCreate", STARTED, [&] {
    if (!is_device(device)) return INVALID_DEVICE;
    *context = contexts.add(new Context{device, false});
    stack.push_back(*context);
    return SUCCESS;
  });
}

EXPORT Result cuCtxDestroy_v2(Context* context) {
  return call("cuCtxDestroy", STARTED | GIVES_BACK, [&] {
    if (!contexts.find(context) || context->primary) return INVALID_CONTEXT;
    if (!stack.empty() && stack.back() == context) stack.pop_back();
    contexts.made.erase(context);
    return SUCCESS;
  });
}

// pycuda ends its contexts with this call. Each has one user, so the context ends here.
EXPORT Result cuCtxDetach(Context* context) { return cuCtxDestroy_v2(context); }

EXPORT Result cuCtxGetCurrent(Context** context) {
  return call("cuCtxGetCurrent", STARTED, [&] {
    *context = current_context();
    return SUCCESS;
  });
}

EXPORT Result cuCtxSetCurrent(Context* context) {
  return call("cuCtxSetCurrent", STARTED, [&] {
    if (context && !contexts.find(context)) return INVALID_CONTEXT;
    if (!stack.empty()) stack.pop_back();
    if (context) stack.push_back(context);
    return SUCCESS;
  });
}

EXPORT Result cuCtxPushCurrent_v2(Context* context) {
  return call("cuCtxPushCurrent", NOTHING, [&] {
    if (!contexts.find(context) && !forgotten.count(context)) return INVALID_CONTEXT;
    stack.push_back(context);
    return SUCCESS;
  });
}

EXPORT Result cuCtxPopCurrent_v2(Context** context) {
  return call("cuCtxPopCurrent", NOTHING, [&] {
    if (stack.empty()) return INVALID_CONTEXT;
    *context = stack.back();
    stack.pop_back();
    return SUCCESS;
  });
}

EXPORT Result cuCtxGetDevice(int* device) {
  return call("cuCtxGetDevice", CONTEXT, [&] {
    *device = current_context()->device;
    return SUCCESS;
  });
}

// For the tests: number of contexts that this thread entered and did not leave, whether they still exist or not.
EXPORT int emulated_entered() { return int(stack.size()); }

// ---- lookup of functions and of errors' texts; not counted, because these calls cannot fail

// The newest version of a function that exists here; names end in a version.
EXPORT Result cuGetProcAddress_v2(const char* name, void** function, int, uint64_t, int* status) {
  static void* self = [] {
    Dl_info info;
    dladdr(reinterpret_cast<void*>(&cuInit), &info);
    return dlopen(info.dli_fname, RTLD_LAZY);
  }();
  *function = nullptr;
  for (const char* version : {"_v4", "_v3", "_v2", ""})
    if (!*function) *function = dlsym(self, (std::string(name) + version).c_str());
  if (status) *status = *function ? 0 : 1;  // CU_GET_PROC_ADDRESS_SUCCESS, _SYMBOL_NOT_FOUND
  return *function ? SUCCESS : NOT_FOUND;
}

// NVRTC asks for private functions of NVIDIA's driver, and works without them.
EXPORT Result cuGetExportTable(const void** table, const void*) {
  *table = nullptr;
  return NOT_SUPPORTED;
}

namespace {

// The same texts as in NVIDIA's library: pycuda's errors carry the text and nothing else.
const std::map<Result, std::pair<const char*, const char*>> errors = {
    {SUCCESS, {"CUDA_SUCCESS", "no error"}},
    {INVALID_VALUE, {"CUDA_ERROR_INVALID_VALUE", "invalid argument"}},
    {OUT_OF_MEMORY, {"CUDA_ERROR_OUT_OF_MEMORY", "out of memory"}},
    {NOT_INITIALIZED, {"CUDA_ERROR_NOT_INITIALIZED", "initialization error"}},
    {DEVICE_UNAVAILABLE, {"CUDA_ERROR_DEVICE_UNAVAILABLE", "CUDA-capable device(s) is/are busy or unavailable"}},
    {NO_DEVICE, {"CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"}},
    {INVALID_DEVICE, {"CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"}},
    {INVALID_IMAGE, {"CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"}},
    {INVALID_CONTEXT, {"CUDA_ERROR_INVALID_CONTEXT", "invalid device context"}},
    {NO_BINARY_FOR_GPU,
     {"CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"}},
    {UNSUPPORTED_PTX_VERSION,
     {"CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."}},
    {INVALID_HANDLE, {"CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"}},
    {NOT_FOUND, {"CUDA_ERROR_NOT_FOUND", "named symbol not found"}},
    {NOT_READY, {"CUDA_ERROR_NOT_READY", "device not ready"}},
    {ILLEGAL_ADDRESS, {"CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"}},
    {LAUNCH_FAILED, {"CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"}},
    {NOT_PERMITTED, {"CUDA_ERROR_NOT_PERMITTED", "operation not permitted"}},
    {NOT_SUPPORTED, {"CUDA_ERROR_NOT_SUPPORTED", "operation not supported"}},
    {CAPTURE_UNSUPPORTED,
     {"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"}},
    {CAPTURE_INVALIDATED,
     {"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"}},
};

}  // namespace

EXPORT Result cuGetErrorName(Result result, const char** name) {
  auto entry = errors.find(result);
  *name = entry == errors.end() ? nullptr : entry->second.first;
  return *name ? SUCCESS : INVALID_VALUE;
}

EXPORT Result cuGetErrorString(Result result, const char** text) {
  auto entry = errors.find(result);
  *text = entry == errors.end() ? nullptr : entry->second.second;
  return *text ? SUCCESS : INVALID_VALUE;
}
