// Every call of the driver passes through admit(). The emulated_*() functions are the tests' controls and queries.
#include "driver.h"

Machine machine;
std::recursive_mutex driver_lock;
bool asleep = true, started = false;

Table<Context> contexts;
Table<Stream> streams;
Table<Event> events;
Table<Graph> graphs, executables;
Table<Module> modules;
std::map<Address, Memory> device_memory, pinned_memory;

namespace {

std::vector<const char*> called;
int refused_releases = 0;
std::string message;

struct Failure {  // planned failure of a call, given by its number since emulated_reset()
  long call = -1;
  Result result = SUCCESS;
} failure;

// After these, the driver's documentation says, the context is lost and the process must end.
bool is_fatal(Result result) { return result == ILLEGAL_ADDRESS || result == LAUNCH_FAILED; }

}  // namespace

Result refuse(Result result, const std::string& why) {
  message = why;
  return result;
}

// A negative result means: refused, but done nevertheless.
Result admit(const char* function, int needs) {
  long number = long(called.size());
  called.push_back(function);
  Context* context = current_context();
  bool gives_back = needs & GIVES_BACK;
  if (number == failure.call) {
    refuse(failure.result, std::string(function) + " fails because the test wants it");
    if (is_fatal(failure.result)) {
      if (context) lose(context, failure.result);
      return gives_back ? -failure.result : failure.result;
    }
    refused_releases += gives_back;
    return failure.result;
  }
  if (in_host_function) return refuse(NOT_PERMITTED, std::string(function) + " in a host function of a stream");
  if (needs & (STARTED | CONTEXT) && !started) return refuse(NOT_INITIALIZED, "cuInit() was not called");
  if (!(needs & CONTEXT)) return SUCCESS;
  if (!context) return refuse(INVALID_CONTEXT, std::string(function) + " needs a context of this thread");
  if (context->lost) return gives_back ? -context->lost : context->lost;
  if (needs & NO_CAPTURE && captures()) {
    invalidate_captures();
    return refuse(CAPTURE_UNSUPPORTED, std::string(function) + " while a stream is captured");
  }
  return SUCCESS;
}

// ---- for the tests

// Sets whether cuInit() finds a GPU. It finds none until a test wants one: other tests of the process run without.
EXPORT void emulated_wake(int awake) { asleep = !awake; }

// Resets everything: no objects, counts or planned failures. Earlier handles are refused afterwards.
EXPORT void emulated_reset() {
  std::lock_guard<std::recursive_mutex> lock(driver_lock);
  executables.made.clear();
  graphs.made.clear();
  modules.made.clear();
  events.made.clear();
  streams.made.clear();
  forget_contexts();
  device_memory.clear();
  pinned_memory.clear();
  called.clear();
  message.clear();
  refused_releases = 0;
  failure = Failure();
  machine = Machine();
  started = false;
}

EXPORT void emulated_set(const char* what, long value) {
  std::string name = what;
  if (name == "devices") machine.devices = int(value);
  if (name == "major") machine.major = int(value);
  if (name == "minor") machine.minor = int(value);
  if (name == "release") machine.release = int(value);
  if (name == "memory") machine.memory = size_t(value);
  if (name == "integrated") machine.integrated = value;
}

// Makes the call of this number, counted from 0 since emulated_reset(), return this result.
EXPORT void emulated_fail(long call, Result result) { failure = {call, result}; }

EXPORT long emulated_calls() { return long(called.size()); }
EXPORT const char* emulated_called(long number) { return called.at(size_t(number)); }

// Number of releasing calls that were made to fail.
EXPORT int emulated_refused_releases() { return refused_releases; }

// Why the last call was refused, or the last work failed.
EXPORT const char* emulated_message() { return message.c_str(); }

// Number of objects of a kind that exist; -1 for an unknown kind.
EXPORT long emulated_left(const char* kind) {
  std::lock_guard<std::recursive_mutex> lock(driver_lock);
  const std::map<std::string, size_t> left = {
      {"contexts", contexts.made.size()},  {"device memory", device_memory.size()},
      {"streams", streams.made.size()},    {"pinned memory", pinned_memory.size()},
      {"events", events.made.size()},      {"modules", modules.made.size()},
      {"graphs", graphs.made.size()},      {"executable graphs", executables.made.size()},
  };
  auto count = left.find(kind);
  return count == left.end() ? -1 : long(count->second);
}
