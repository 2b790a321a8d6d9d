// The work: each stream keeps its own in order, and does it only when somebody waits, see work_off().
#include <chrono>
#include <cstring>

#include "driver.h"

thread_local bool in_host_function = false;

namespace {

// The piece of work that a test wants to fail, by its number since emulated_fail_work().
long works_until_failure = -1;
Result failing_work = SUCCESS;

double now() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Event* event_of(Handle handle) {
  Event* event = events.find(handle);
  return event && event->context == current_context() ? event : nullptr;
}

Result run(Work& work) {
  if (works_until_failure >= 0 && works_until_failure-- == 0)
    return refuse(failing_work, "work fails because the test wants it");
  return work.body();
}

bool may_capture(const Stream& stream) { return stream.capture && stream.captured_by == std::this_thread::get_id(); }

// All existing streams, including the default ones.
template <class Visit>
void each_stream(Visit visit) {
  for (auto& entry : streams.made) visit(*entry.second);
  for (auto& entry : contexts.made) visit(entry.second->default_stream);
}

}  // namespace

Stream* stream_of(Handle handle) {
  Context* context = current_context();
  if (uintptr_t(handle) <= 2) return &context->default_stream;  // 0, CU_STREAM_LEGACY, CU_STREAM_PER_THREAD
  Stream* stream = streams.find(handle);
  return stream && stream->context == context ? stream : nullptr;
}

void lose(Context* context, Result result) {
  context->lost = result;
  each_stream([&](Stream& stream) {
    if (stream.context == context) stream.queue.clear();
  });
}

Result submit(Stream& stream, Work work) {
  if (stream.capture) stream.capture->work.push_back(std::move(work));
  else stream.queue.push_back(std::move(work));
  return SUCCESS;
}

Result work_off(Stream& stream, const Point* until) {
  Context* context = stream.context;
  while (!stream.queue.empty() && !context->lost && !(until && until->reached)) {
    Work work = std::move(stream.queue.front());
    stream.queue.pop_front();
    if (work.after && !work.after->reached) work_off(*work.after->stream, work.after.get());
    Result result = context->lost || !work.body ? SUCCESS : run(work);
    if (result) lose(context, result);
    if (work.reach) {
      work.reach->reached = true;
      work.reach->milliseconds = now();
    }
  }
  return context->lost;
}

bool captures() {
  bool any = false;
  each_stream([&](Stream& stream) { any |= may_capture(stream); });
  return any;
}

void invalidate_captures() {
  each_stream([](Stream& stream) { stream.invalidated |= may_capture(stream); });
}

bool awaited(Address address, size_t bytes) {
  bool any = false;
  each_stream([&](Stream& stream) {
    for (Work& work : stream.queue)
      for (Address used : work.uses) any |= used >= address && used - address < bytes;
  });
  return any;
}

// ---- streams

EXPORT Result cuStreamCreate(Handle* stream, unsigned) {
  return call("cuStreamCreate", CONTEXT, [&] {
    *stream = streams.add(new Stream{current_context(), {}, nullptr, {}, false});
    return SUCCESS;
  });
}

EXPORT Result cuStreamDestroy_v2(Handle handle) {
  return call("cuStreamDestroy", CONTEXT | GIVES_BACK, [&] {
    Stream* stream = stream_of(handle);
    if (!stream || uintptr_t(handle) <= 2) return INVALID_HANDLE;
    work_off(*stream);  // the driver lets the work continue without waiting; here nobody else would do it later
    streams.made.erase(handle);
    return SUCCESS;
  });
}

EXPORT Result cuStreamSynchronize(Handle handle) {
  return call("cuStreamSynchronize", CONTEXT, [&] {
    Stream* stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    if (stream->capture) {
      stream->invalidated = true;
      return CAPTURE_UNSUPPORTED;
    }
    return work_off(*stream);
  });
}

EXPORT Result cuCtxSynchronize() {
  return call("cuCtxSynchronize", CONTEXT | NO_CAPTURE, [&] {
    Context* context = current_context();
    each_stream([&](Stream& stream) {
      if (stream.context == context) work_off(stream);
    });
    return context->lost;
  });
}

EXPORT Result cuLaunchHostFunc(Handle handle, void (*function)(void*), void* data) {
  return call("cuLaunchHostFunc", CONTEXT, [&] {
    Stream* stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    return submit(*stream, {[=] {
                              in_host_function = true;
                              function(data);
                              in_host_function = false;
                              return SUCCESS;
                            },
                            {}, nullptr, nullptr});
  });
}

// ---- copies

static const char FREED[] = "a copy of memory that was freed";

EXPORT Result cuMemcpyHtoDAsync_v2(Address target, const void* source, size_t bytes, Handle handle) {
  return call("cuMemcpyHtoDAsync", CONTEXT, [&] {
    Stream* stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    if (!on_host(target, bytes)) return refuse(INVALID_VALUE, "a copy that does not lie in device memory");
    // Memory that is not pinned is read at once: the driver does so before it returns.
    bool pinned = is_pinned(source, bytes);
    if (!pinned && stream->capture) return refuse(CAPTURE_UNSUPPORTED, "a captured copy of memory that is not pinned");
    auto taken = std::make_shared<std::vector<char>>();
    if (!pinned) taken->assign(static_cast<const char*>(source), static_cast<const char*>(source) + bytes);
    auto copy = [=]() -> Result {
      char* to = on_host(target, bytes);
      if (!to || (pinned && !is_pinned(source, bytes))) return refuse(ILLEGAL_ADDRESS, FREED);
      std::memcpy(to, pinned ? source : taken->data(), bytes);
      return SUCCESS;
    };
    return submit(*stream, {copy, {target, Address(source)}, nullptr, nullptr});
  });
}

EXPORT Result cuMemcpyDtoHAsync_v2(void* target, Address source, size_t bytes, Handle handle) {
  return call("cuMemcpyDtoHAsync", CONTEXT, [&] {
    Stream* stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    if (!on_host(source, bytes)) return refuse(INVALID_VALUE, "a copy that does not lie in device memory");
    bool pinned = is_pinned(target, bytes);
    if (!pinned && stream->capture) return refuse(CAPTURE_UNSUPPORTED, "a captured copy to memory that is not pinned");
    auto copy = [=]() -> Result {
      char* from = on_host(source, bytes);
      if (!from || (pinned && !is_pinned(target, bytes))) return refuse(ILLEGAL_ADDRESS, FREED);
      std::memcpy(target, from, bytes);
      return SUCCESS;
    };
    Result result = submit(*stream, {copy, {source, Address(target)}, nullptr, nullptr});
    return pinned ? result : work_off(*stream);  // into memory that is not pinned, the driver copies before it returns
  });
}

// ---- events

EXPORT Result cuEventCreate(Handle* event, unsigned) {
  return call("cuEventCreate", CONTEXT, [&] {
    *event = events.add(new Event{current_context(), nullptr});
    return SUCCESS;
  });
}

EXPORT Result cuEventDestroy_v2(Handle handle) {
  return call("cuEventDestroy", CONTEXT | GIVES_BACK, [&] {
    if (!event_of(handle)) return INVALID_HANDLE;
    events.made.erase(handle);
    return SUCCESS;
  });
}

EXPORT Result cuEventRecord(Handle handle, Handle stream_handle) {
  return call("cuEventRecord", CONTEXT, [&] {
    Event* event = event_of(handle);
    Stream* stream = stream_of(stream_handle);
    if (!event || !stream) return INVALID_HANDLE;
    if (stream->capture) return refuse(NOT_SUPPORTED, "events in a captured stream are not emulated");
    event->point = std::make_shared<Point>(Point{stream, false, 0});
    return submit(*stream, {nullptr, {}, nullptr, event->point});
  });
}

EXPORT Result cuStreamWaitEvent(Handle stream_handle, Handle handle, unsigned) {
  return call("cuStreamWaitEvent", CONTEXT, [&] {
    Event* event = event_of(handle);
    Stream* stream = stream_of(stream_handle);
    if (!event || !stream) return INVALID_HANDLE;
    if (stream->capture) return refuse(NOT_SUPPORTED, "events in a captured stream are not emulated");
    return event->point ? submit(*stream, {nullptr, {}, event->point, nullptr}) : SUCCESS;
  });
}

EXPORT Result cuEventSynchronize(Handle handle) {
  return call("cuEventSynchronize", CONTEXT, [&] {
    Event* event = event_of(handle);
    if (!event) return INVALID_HANDLE;
    if (!event->point || event->point->reached) return SUCCESS;
    return work_off(*event->point->stream, event->point.get());
  });
}

EXPORT Result cuEventElapsedTime_v2(float* milliseconds, Handle start, Handle end) {
  return call("cuEventElapsedTime", CONTEXT, [&] {
    Event *first = event_of(start), *last = event_of(end);
    if (!first || !last || !first->point || !last->point) return INVALID_HANDLE;
    if (!first->point->reached || !last->point->reached) return NOT_READY;
    *milliseconds = float(last->point->milliseconds - first->point->milliseconds);
    return SUCCESS;
  });
}

// ---- graphs: recorded work, repeated by each launch with the recorded arguments and addresses

EXPORT Result cuStreamBeginCapture_v2(Handle handle, int) {
  return call("cuStreamBeginCapture", CONTEXT, [&] {
    Stream* stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    if (stream->capture || uintptr_t(handle) <= 2) return CAPTURE_UNSUPPORTED;
    stream->capture.reset(new Graph{stream->context, {}});
    stream->captured_by = std::this_thread::get_id();
    stream->invalidated = false;
    return SUCCESS;
  });
}

EXPORT Result cuStreamEndCapture(Handle handle, Handle* graph) {
  Result result = call("cuStreamEndCapture", CONTEXT, [&] {
    Stream* stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    if (!stream->capture) return INVALID_VALUE;
    *graph = stream->invalidated ? nullptr : graphs.add(stream->capture.release());
    return *graph ? SUCCESS : CAPTURE_INVALIDATED;
  });
  std::lock_guard<std::recursive_mutex> lock(driver_lock);
  if (Stream* stream = streams.find(handle)) stream->capture.reset();  // the capture ends even on an error
  return result;
}

EXPORT Result cuGraphInstantiateWithFlags(Handle* executable, Handle handle, unsigned long long) {
  return call("cuGraphInstantiate", CONTEXT, [&] {
    Graph* graph = graphs.find(handle);
    if (!graph) return INVALID_HANDLE;
    *executable = executables.add(new Graph(*graph));
    return SUCCESS;
  });
}

EXPORT Result cuGraphDestroy(Handle graph) {
  return call("cuGraphDestroy", CONTEXT | GIVES_BACK, [&] {
    return graphs.made.erase(graph) ? SUCCESS : INVALID_HANDLE;
  });
}

EXPORT Result cuGraphLaunch(Handle executable, Handle handle) {
  return call("cuGraphLaunch", CONTEXT, [&] {
    Graph* graph = executables.find(executable);
    Stream* stream = stream_of(handle);
    if (!graph || !stream || graph->context != stream->context) return INVALID_HANDLE;
    for (const Work& work : graph->work) submit(*stream, work);
    return SUCCESS;
  });
}

EXPORT Result cuGraphExecDestroy(Handle executable) {
  return call("cuGraphExecDestroy", CONTEXT | GIVES_BACK, [&] {
    return executables.made.erase(executable) ? SUCCESS : INVALID_HANDLE;
  });
}

// ---- for the tests

// Makes the piece of work of this number, counted from 0 from now on, fail on the device.
EXPORT void emulated_fail_work(long number, Result result) {
  works_until_failure = number;
  failing_work = result;
}
