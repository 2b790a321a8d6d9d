"""NVIDIA's driver through ``pycuda``. See ``ssd_edge.engines.cuda.driver.Driver``.

pycuda has objects where the driver has handles, so the objects are kept here by handle. pycuda works in the context
that it pushed last, whatever the driver's current context is, so the current one is pushed around each call. Two things
that pycuda lacks are asked of the driver's library directly: the current context, and the names of errors.

pycuda has no graphs. When the driver refuses to release something, pycuda writes that to stderr and raises no error.
"""

from __future__ import annotations

import ctypes
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pycuda.driver as cuda

from ssd_edge.engines.cuda.driver import Argument, CudaError, EglFrame, no_function, refused, stream_handle
from ssd_edge.engines.cuda.pycuda_errors import errors, library, translated_errors

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: does not wait for the default stream


class PyCuda:
    """See ``Driver``."""

    can_capture = False

    def __init__(self) -> None:
        self._library = library()
        self._contexts: dict[int, cuda.Context] = {}
        self._retained: Counter[int] = Counter()  # by GPU: how often its one primary context was retained
        self._primary: dict[int, int] = {}
        self._memory: dict[int, cuda.DeviceAllocation] = {}
        self._streams: dict[int, cuda.Stream] = {0: None}  # the default one
        self._adopted: Counter[int] = Counter()
        self._events: dict[int, cuda.Event] = {}
        self._modules: dict[int, cuda.Module] = {}
        self._functions: dict[int, cuda.Function] = {}
        self._of_module: dict[int, list[int]] = {}  # functions by module; pycuda's functions keep a module alive
        self._numbers = itertools.count(1)  # handles for pycuda's objects that have none
        with translated_errors("starting the driver"):
            cuda.init()

    @contextmanager
    def _call(self, doing: str) -> Iterator[None]:
        """Push the current context onto pycuda's stack for a call, and translate pycuda's errors into sentences."""
        handle = self.current_context()
        context = self._contexts.get(handle)
        if context is None:
            raise CudaError(
                "CUDA_ERROR_INVALID_CONTEXT",
                f"{doing} failed: pycuda works in its own contexts and the GPU's primary one, and this thread's is "
                f"{'another' if handle else 'none'}",
            )
        below = cuda.Context.get_current()
        with translated_errors(doing):
            if below == context:
                yield
                return
            context.push()
            try:
                yield
            finally:
                self._leave()
                if below is not None:
                    self.set_context(handle)  # pycuda has made the context below current

    @contextmanager
    def _release(self, doing: str) -> Iterator[None]:
        """Like ``_call``, but enter the context twice if needed: pycuda aborts if it cannot destroy an object."""
        failed = None
        with ExitStack() as stack:
            try:
                stack.enter_context(self._call(doing))
            except CudaError as error:
                failed = error
                stack.enter_context(self._call(doing))
            yield
        if failed is not None:
            raise failed

    def _leave(self) -> None:
        # A context left on the stack makes pycuda abort at exit, so pop is retried once. A passing refusal raises no
        # error, which would lose the object just made; a lasting one is reported by the next call.
        try:
            cuda.Context.pop()
        except cuda.Error:
            cuda.Context.pop()

    def _raw(self, function: str, doing: str, *arguments: Any) -> None:
        try:
            status = self._library[function](*arguments)
        except AttributeError:
            raise no_function(function) from None
        if status:
            raise refused(errors()[0].get(status, f"error {status}"), doing)

    def release(self) -> tuple[int, int]:
        """See ``Driver``."""
        with translated_errors("asking for the driver's release"):
            number = int(cuda.get_driver_version())
        return number // 1000, number % 1000 // 10

    def device_count(self) -> int:
        """See ``Driver``."""
        with translated_errors("counting GPUs"):
            return int(cuda.Device.count())

    def device_name(self, index: int) -> str:
        """See ``Driver``."""
        with translated_errors("asking for a GPU's name"):
            return str(cuda.Device(index).name())

    def compute_capability(self, index: int) -> tuple[int, int]:
        """See ``Driver``."""
        with translated_errors("asking for a compute capability"):
            major, minor = cuda.Device(index).compute_capability()
        return int(major), int(minor)

    def integrated(self, index: int) -> bool:
        """See ``Driver``."""
        with translated_errors("asking what a GPU is"):
            return bool(cuda.Device(index).get_attribute(cuda.device_attribute.INTEGRATED))

    def retain_context(self, index: int) -> int:
        """See ``Driver``."""
        if not self._retained[index]:
            with translated_errors("opening the GPU's context"):
                context = cuda.Device(index).retain_primary_context()
            self._contexts[context.handle] = context
            self._primary[index] = context.handle
        self._retained[index] += 1
        return self._primary[index]

    def release_context(self, index: int) -> None:
        """See ``Driver``."""
        self._retained[index] -= 1
        if self._retained[index]:
            return
        context, below = self._contexts.pop(self._primary.pop(index)), cuda.Context.get_current()
        # pycuda releases a context in any thread, but only where it is current, and leaves it on the driver's stack,
        # below the one that was current before.
        try:
            with translated_errors("closing the GPU's context"), ExitStack() as stack:
                stack.callback(context.detach)
                context.push()
        finally:
            self._pop()
            if below is not None:
                self._pop()
                self._raw("cuCtxPushCurrent_v2", "closing the GPU's context", ctypes.c_void_p(below.handle))

    def _pop(self) -> None:
        self._raw("cuCtxPopCurrent_v2", "closing the GPU's context", ctypes.byref(ctypes.c_void_p()))

    def current_context(self) -> int:
        """See ``Driver``."""
        current = ctypes.c_void_p()
        self._raw("cuCtxGetCurrent", "asking for the context", ctypes.byref(current))
        handle = current.value or 0
        own = cuda.Context.get_current()
        if own is not None and own.handle == handle:
            self._contexts.setdefault(handle, own)
        return handle

    def current_device(self) -> int:
        """See ``Driver``."""
        with self._call("asking for the context's GPU"):
            device = cuda.Context.get_device()
            return next(index for index in range(cuda.Device.count()) if cuda.Device(index) == device)

    def set_context(self, context: int) -> None:
        """See ``Driver``."""
        self._raw("cuCtxSetCurrent", "entering the GPU's context", ctypes.c_void_p(context))

    def memory(self) -> tuple[int, int]:
        """See ``Driver``."""
        with self._call("asking for free memory"):
            free, total = cuda.mem_get_info()
        return int(free), int(total)

    def allocate(self, nbytes: int) -> int:
        """See ``Driver``."""
        with self._call("allocating memory on the GPU"):
            allocation = cuda.mem_alloc(nbytes)
        self._memory[int(allocation)] = allocation
        return int(allocation)

    def free(self, address: int) -> None:
        """See ``Driver``."""
        with self._release("freeing memory on the GPU"):
            self._memory.pop(address).free()

    def allocate_pinned(self, nbytes: int) -> npt.NDArray[np.uint8]:
        """See ``Driver``."""
        with self._call("allocating pinned memory"):
            array: npt.NDArray[np.uint8] = cuda.pagelocked_empty(nbytes, np.uint8)
        return array

    def allocate_mapped(self, nbytes: int) -> tuple[npt.NDArray[np.uint8], int]:
        """See ``Driver``."""
        flags = cuda.host_alloc_flags.DEVICEMAP
        with self._call("allocating memory that the GPU shares"), ExitStack() as undo:
            array: npt.NDArray[np.uint8] = cuda.pagelocked_empty(nbytes, np.uint8, mem_flags=flags)
            owner: Any = array.base
            undo.callback(owner.free)
            address = int(owner.get_device_pointer())
            undo.pop_all()
        return array, address

    def free_pinned(self, array: npt.NDArray[np.uint8]) -> None:
        """See ``Driver``."""
        owner: Any = array.base
        with self._release("freeing pinned memory"):
            owner.free()

    def upload(self, address: int, array: npt.NDArray[Any], stream: int) -> None:
        """See ``Driver``."""
        with self._call("copying to the GPU"):
            cuda.memcpy_htod_async(address, array, self._stream(stream))

    def download(self, array: npt.NDArray[Any], address: int, stream: int) -> None:
        """See ``Driver``."""
        with self._call("copying from the GPU"):
            cuda.memcpy_dtoh_async(array, address, self._stream(stream))

    def create_stream(self) -> int:
        """See ``Driver``."""
        with self._call("making a stream"):
            stream = cuda.Stream(_NON_BLOCKING)
        self._streams[stream.handle] = stream
        return int(stream.handle)

    def destroy_stream(self, stream: int) -> None:
        """See ``Driver``."""
        with self._release("ending a stream"):
            del self._streams[stream]  # the last reference, so pycuda destroys it

    def adopt_stream(self, stream: object) -> int:
        """Take a pycuda Stream, the default stream, or a stream that this object made; see ``Driver``."""
        if isinstance(stream, cuda.Stream):
            self._streams[stream.handle] = stream
            self._adopted[stream.handle] += 1
            return int(stream.handle)
        handle = stream_handle(stream)
        if handle is None or handle not in self._streams:
            raise TypeError(f"with pycuda a stream must be a pycuda Stream or 0, but got {stream!r}: use cuda-bindings")
        return handle

    def disown_stream(self, stream: int) -> None:
        """See ``Driver``."""
        if stream in self._adopted:
            self._adopted[stream] -= 1
            if not self._adopted[stream]:
                del self._adopted[stream], self._streams[stream]

    def _stream(self, handle: int) -> Any:
        return self._streams[handle]

    def synchronize_stream(self, stream: int) -> None:
        """See ``Driver``."""
        with self._call("waiting for the GPU"):
            (self._stream(stream) or cuda.Context).synchronize()

    def wait_event(self, stream: int, event: int) -> None:
        """See ``Driver``."""
        with self._call("waiting for an event"):
            self._stream(stream).wait_for_event(self._events[event])

    def create_event(self) -> int:
        """See ``Driver``."""
        number = next(self._numbers)
        with self._call("making an event"):
            self._events[number] = cuda.Event()
        return number

    def destroy_event(self, event: int) -> None:
        """See ``Driver``."""
        with self._release("ending an event"):
            del self._events[event]

    def record_event(self, event: int, stream: int) -> None:
        """See ``Driver``."""
        with self._call("recording an event"):
            self._events[event].record(self._stream(stream))

    def synchronize_event(self, event: int) -> None:
        """See ``Driver``."""
        with self._call("waiting for the GPU"):
            self._events[event].synchronize()

    def milliseconds(self, start: int, end: int) -> float:
        """See ``Driver``."""
        with self._call("taking the time on the GPU"):
            return float(self._events[end].time_since(self._events[start]))

    def load_module(self, image: bytes) -> int:
        """See ``Driver``."""
        number = next(self._numbers)
        with self._call("loading the kernels"):
            self._modules[number] = cuda.module_from_buffer(image)
        self._of_module[number] = []
        return number

    def unload_module(self, module: int) -> None:
        """See ``Driver``."""
        with self._release("unloading the kernels"):
            for function in self._of_module.pop(module):
                del self._functions[function]
            del self._modules[module]

    def function(self, module: int, name: str) -> int:
        """See ``Driver``."""
        number = next(self._numbers)
        with self._call(f"looking for kernel {name}"):
            self._functions[number] = self._modules[module].get_function(name)
        self._of_module[module].append(number)
        return number

    def prepare(
        self,
        function: int,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: Sequence[Argument],
    ) -> _Prepared:
        """See ``Driver``."""
        return _Prepared(self, function, {"grid": grid, "block": block}, list(arguments))

    def begin_capture(self, stream: int) -> None:
        """Raise CudaError: pycuda has no graphs. See ``Driver``."""
        raise _NO_GRAPHS

    def end_capture(self, stream: int) -> int:
        """Raise CudaError: pycuda has no graphs. See ``Driver``."""
        raise _NO_GRAPHS

    def launch_graph(self, graph: int, stream: int) -> None:
        """Raise CudaError: pycuda has no graphs. See ``Driver``."""
        raise _NO_GRAPHS

    def destroy_graph(self, graph: int) -> None:
        """Raise CudaError: pycuda has no graphs. See ``Driver``."""
        raise _NO_GRAPHS

    def map_egl_image(self, image: int) -> EglFrame:
        """Raise CudaError: pycuda maps no EGLImages. See ``Driver``."""
        raise _NO_SURFACES

    def unmap_egl_image(self, resource: int) -> None:
        """Raise CudaError: pycuda maps no EGLImages. See ``Driver``."""
        raise _NO_SURFACES


class _Prepared:
    """See ``ssd_edge.engines.cuda.driver.Prepared``; pycuda packs the arguments again for each launch."""

    def __init__(
        self, driver: PyCuda, function: int, shape: dict[str, tuple[int, int, int]], arguments: list[Argument]
    ) -> None:
        self._driver, self._function, self._shape, self._arguments = driver, function, shape, arguments

    def set_address(self, place: int, address: int) -> None:
        """See ``Prepared``."""
        self._arguments[place] = np.uint64(address)

    def launch(self, stream: int) -> None:
        """See ``Prepared``."""
        driver = self._driver
        with driver._call("launching a kernel"):
            driver._functions[self._function](*self._arguments, **self._shape, stream=driver._stream(stream))


_NO_SURFACES = CudaError("CUDA_ERROR_NOT_SUPPORTED", "pycuda maps no EGLImages: use cuda-bindings")
_NO_GRAPHS = CudaError("CUDA_ERROR_NOT_SUPPORTED", "pycuda has no CUDA graphs: use cuda-bindings")
