// A libcuda for the tests: NVIDIA's driver API on a machine without a GPU. The real cuda-bindings and pycuda run over
// it: it has the real library's name, functions and signatures (https://docs.nvidia.com/cuda/cuda-driver-api).
//
//   calls.cpp    every call passes here: counts, failures that a test wants, objects that were not released
//   devices.cpp  devices and contexts
//   memory.cpp   device and pinned memory
//   streams.cpp  streams, events, copies, graphs: the work and its order
//   modules.cpp  kernels and launches; images.cpp reads cubins and PTX
//   absent.cpp   functions that pycuda links with and nobody calls
//
// It is stricter than a GPU, so that a fault in the host code shows every time and not by chance:
//   - Work stays in its stream until somebody waits for it, so a result that is read too early is never there by luck.
//   - Device addresses are invalid on the CPU. New memory holds garbage, and writes outside an allocation are detected.
//   - Handles that were destroyed, and those of another context, are refused.
// Unlike on a GPU, streams never really overlap, the default stream waits for no other, and only one thread at a time
// is in the driver, including while its work runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

using Result = int;         // CUresult
using Address = uint64_t;   // CUdeviceptr
using Handle = void*;       // CUstream, CUevent and the others

constexpr Result  // the members of CUresult that are used here
    SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, DEVICE_UNAVAILABLE = 46,
    NO_DEVICE = 100, INVALID_DEVICE = 101,
    INVALID_IMAGE = 200, INVALID_CONTEXT = 201, NO_BINARY_FOR_GPU = 209, UNSUPPORTED_PTX_VERSION = 222,
    INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600, ILLEGAL_ADDRESS = 700, LAUNCH_FAILED = 719,
    NOT_PERMITTED = 800, NOT_SUPPORTED = 801, CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901;

// ---- the machine, as a test wants it: emulated_set()

struct Machine {
  int devices = 1, major = 8, minor = 6;  // compute capability
  int release = 13000;                    // the latest CUDA that the driver supports
  size_t memory = size_t(1) << 30;        // bytes of each device
  bool integrated = false;                // works in the CPU's memory, as on a Jetson
};
extern Machine machine;

// ---- calls

enum Needs {
  NOTHING = 0,
  STARTED = 1,       // cuInit()
  CONTEXT = 2,       // needs a current context that is not lost
  NO_CAPTURE = 4,    // must not be called while this thread captures a stream: CUDA calls it unsafe
  GIVES_BACK = 8,    // releases something, which works even in a lost context
};

// Returns why a call must not run its body, or SUCCESS. Each exported function runs its body through call().
Result admit(const char* function, int needs);
Result refuse(Result result, const std::string& why);  // keeps the reason for emulated_message()
extern std::recursive_mutex driver_lock;
extern bool asleep, started;

template <class Body>
Result call(const char* function, int needs, Body body) {
  std::lock_guard<std::recursive_mutex> lock(driver_lock);
  Result refused = admit(function, needs);
  if (refused == SUCCESS) return body();
  if (refused < 0) return body(), -refused;  // the context is lost, but releasing still works
  return refused;
}

// ---- objects that programs create. A handle is an address in its table; any other is refused.

template <class T>
struct Table {
  std::map<const void*, std::unique_ptr<T>> made;

  T* add(T* object) {
    made[object].reset(object);
    return object;
  }
  T* find(const void* handle) const {
    auto entry = made.find(handle);
    return entry == made.end() ? nullptr : entry->second.get();
  }
};

struct Context;

// A position in a stream's work that others wait for.
struct Point {
  struct Stream* stream;  // valid until the point is reached
  bool reached = false;
  double milliseconds = 0;
};

struct Work {
  std::function<Result()> body;
  std::vector<Address> uses;     // device and pinned memory
  std::shared_ptr<Point> after;  // waits until it is reached
  std::shared_ptr<Point> reach;  // reaches it
};

struct Graph {
  Context* context;
  std::vector<Work> work;
};

struct Stream {
  Context* context;
  std::deque<Work> queue;
  std::unique_ptr<Graph> capture;  // collects the work while the stream is captured
  std::thread::id captured_by;
  bool invalidated = false;  // the capture has failed already
};

struct Event {
  Context* context;
  std::shared_ptr<Point> point;  // of its last cuEventRecord()
};

struct Context {
  int device;
  bool primary;
  int uses = 0;
  Result lost = SUCCESS;  // after a failure on the device, the result of every call
  Stream default_stream{this, {}, nullptr, {}, false};
};

struct Memory {
  std::unique_ptr<char[]> block;
  char* bytes;
  size_t size;
  bool mapped = false;  // pinned memory that the device reaches: CU_MEMHOSTALLOC_DEVICEMAP
};

// One parameter of a kernel, as described in the image.
struct Parameter {
  unsigned offset, size;
};

struct Kernel {
  std::string name;
  std::vector<Parameter> parameters;
  unsigned max_threads = 1024;  // per block: __launch_bounds__
  unsigned shared = 0;          // bytes
  int (*on_cpu)(unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void**, unsigned) = nullptr;
  Context* context = nullptr;
};

struct Module {
  Context* context;
  std::map<std::string, Kernel> kernels;
};

extern Table<Context> contexts;
extern Table<Stream> streams;
extern Table<Event> events;
extern Table<Graph> graphs, executables;
extern Table<Module> modules;
extern std::map<Address, Memory> device_memory, pinned_memory;

// ---- between the files

Context* current_context();  // of this thread; null if there is none
void forget_contexts();
void lose(Context* context, Result result);  // after a failure on the device
extern thread_local bool in_host_function;

// Translates an address of device or mapped memory to the CPU's, or null unless all bytes lie in one allocation.
char* on_host(Address address, size_t bytes);
bool is_pinned(const void* address, size_t bytes);
// Describes the allocation that a kernel wrote outside of; "" if there is none.
std::string written_beside();

Result submit(Stream& stream, Work work);
// Does a stream's work, up to a point or all of it.
Result work_off(Stream& stream, const Point* until = nullptr);
void invalidate_captures();  // of this thread; captures() tells whether there are any
bool captures();
// Whether pending work would use this memory.
bool awaited(Address address, size_t bytes);
Stream* stream_of(Handle handle);  // a stream of the current context; null means INVALID_HANDLE

// Fills in the kernels of a cubin or PTX, or says why this machine does not take it.
Result read_image(const char* image, Module& module);
