"""CUDA from Python: device and pinned memory, streams, events, kernels and graphs.

Each object is a context manager made by a ``Device``, over one of two libraries that wrap NVIDIA's driver: see
``driver.py``.

    with Device() as device, device.buffer(4096) as buffer, device.stream() as stream: ...
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext, suppress
from math import prod
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ssd_edge.engines.cuda.driver import Argument, CudaError, Driver, no_driver, refused
from ssd_edge.errors import MissingDependencyError

__all__ = [
    "Argument",
    "CudaError",
    "Device",
    "DeviceBuffer",
    "Driver",
    "Event",
    "Graph",
    "MappedArray",
    "Module",
    "PinnedArray",
    "Stream",
    "no_driver",
    "open_driver",
    "refused",
]

_MIB = 1 << 20
_UNSUITABLE = {"CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "CUDA_ERROR_INVALID_PTX", "CUDA_ERROR_NO_BINARY_FOR_GPU"}

_ELF = struct.Struct("<16sHHIQQQIHHHHHH")  # header of a 64-bit ELF file; below, indices of its fields
_SECTIONS_AT, _SECTION_SIZE, _SECTIONS = 6, 11, 12

_Self = TypeVar("_Self", bound="_Resource")


def open_driver(library: str = "") -> Driver:
    """Open the driver through ``cuda-bindings`` if that is installed, else through ``pycuda``.

    Args:
        library: ``cuda-bindings`` or ``pycuda`` to insist on one.

    Raises:
        MissingDependencyError: the library is not installed.
        CudaError: there is no driver, or no GPU.
    """
    if library in {"", "cuda-bindings"}:
        try:
            from ssd_edge.engines.cuda.bindings import Bindings

            return Bindings()
        except ModuleNotFoundError:
            if library:
                raise MissingDependencyError("cuda-bindings", "cuda", "running on a GPU") from None
    if library in {"", "pycuda"}:
        try:
            from ssd_edge.engines.cuda.pycuda import PyCuda

            return PyCuda()
        except ModuleNotFoundError:
            pass
        except ImportError as error:  # pycuda links with the driver's library
            raise no_driver(str(error)) from None
    raise MissingDependencyError(library or "cuda-bindings (or pycuda)", "cuda", "running on a GPU") from None


class _Resource:
    """A resource that is released once, at the end of its ``with`` or by ``close``."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back: Callable[[], None] | None = give_back

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The first error is the one to report: releases that fail after it mostly fail because of it.
        with suppress(CudaError) if error is not None else nullcontext():
            self.close()

    def close(self) -> None:
        """Release it; a second call does nothing."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()


class DeviceBuffer(_Resource):
    """Memory on the GPU, aligned to 256 bytes.

    Attributes:
        address: address of the first byte, for kernels and copies only.
        nbytes: size in bytes.
    """

    def __init__(self, driver: Driver, nbytes: int) -> None:
        try:
            self.address, self.nbytes = driver.allocate(nbytes), nbytes
        except CudaError as error:
            raise _too_little(error, nbytes, driver) from None
        super().__init__(lambda: driver.free(self.address))


class PinnedArray(_Resource):
    """Pinned host memory, for copies that run while the program continues.

    Attributes:
        array: the memory as an array of the shape and dtype; empty once closed.
    """

    def __init__(self, driver: Driver, shape: Sequence[int], dtype: npt.DTypeLike) -> None:
        kind = np.dtype(dtype)
        memory = driver.allocate_pinned(max(1, prod(shape) * kind.itemsize))
        self.array: npt.NDArray[Any] = memory[: prod(shape) * kind.itemsize].view(kind).reshape(shape)
        super().__init__(lambda: driver.free_pinned(memory))

    def close(self) -> None:
        """See ``_Resource``."""
        self.array = np.empty(0, self.array.dtype)
        super().close()


class MappedArray(_Resource):
    """Pinned host memory that the GPU reads and writes in place.

    Attributes:
        array: the memory as an array of the shape and dtype; empty once closed.
        address: its address on the GPU, for kernels.
    """

    def __init__(self, driver: Driver, shape: Sequence[int], dtype: npt.DTypeLike) -> None:
        kind = np.dtype(dtype)
        memory, self.address = driver.allocate_mapped(max(1, prod(shape) * kind.itemsize))
        self.array: npt.NDArray[Any] = memory[: prod(shape) * kind.itemsize].view(kind).reshape(shape)
        super().__init__(lambda: driver.free_pinned(memory))

    def close(self) -> None:
        """See ``_Resource``."""
        self.array = np.empty(0, self.array.dtype)
        super().close()


class Event(_Resource):
    """A point in a stream's work."""

    def __init__(self, driver: Driver) -> None:
        self._driver, self.handle = driver, driver.create_event()
        super().__init__(lambda: driver.destroy_event(self.handle))

    def synchronize(self) -> None:
        """Wait until the event has happened."""
        self._driver.synchronize_event(self.handle)

    def milliseconds_since(self, earlier: Event) -> float:
        """Return the time since another event; both must have happened."""
        return self._driver.milliseconds(earlier.handle, self.handle)


class Graph(_Resource):
    """Captured work that one call starts."""

    def __init__(self, driver: Driver, handle: int) -> None:
        self._driver, self.handle = driver, handle
        super().__init__(lambda: driver.destroy_graph(handle))

    def launch(self, stream: Stream) -> None:
        """Start the work after everything that is on the stream."""
        self._driver.launch_graph(self.handle, stream.handle)


class Module(_Resource):
    """Compiled kernels on the device."""

    def __init__(self, driver: Driver, image: bytes) -> None:
        image = _complete(image)
        try:
            self._handle = driver.load_module(image)
        except CudaError as error:
            raise _unsuitable(error, image, driver) from None
        self._driver = driver
        self._functions: dict[str, int] = {}
        super().__init__(lambda: driver.unload_module(self._handle))

    def function(self, name: str) -> int:
        """Look up a kernel's handle.

        Raises:
            CudaError: the module has no kernel of that name.
        """
        if name not in self._functions:
            self._functions[name] = self._driver.function(self._handle, name)
        return self._functions[name]


class Stream(_Resource):
    """A queue of work that runs in order, in parallel to the program and to other streams.

    Attributes:
        handle: the driver's CUstream, as TensorRT and other libraries take it.
    """

    def __init__(self, driver: Driver, adopted: object | None = None) -> None:
        self._driver = driver
        if adopted is None:
            self.handle = driver.create_stream()
            super().__init__(lambda: driver.destroy_stream(self.handle))
        else:
            self.handle = driver.adopt_stream(adopted)
            super().__init__(lambda: driver.disown_stream(self.handle))

    def upload(self, buffer: DeviceBuffer, array: npt.NDArray[Any]) -> None:
        """Copy a contiguous array to the device; do not change a pinned array until the copy is done."""
        _check_copy(buffer, array)
        self._driver.upload(buffer.address, array, self.handle)

    def download(self, array: npt.NDArray[Any], buffer: DeviceBuffer) -> None:
        """Copy from the device into a contiguous array, which is filled once the stream reaches this point."""
        _check_copy(buffer, array)
        self._driver.download(array, buffer.address, self.handle)

    def launch(
        self,
        function: int,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: Sequence[Argument],
    ) -> None:
        """Start a kernel."""
        self._driver.launch(function, grid, block, self.handle, arguments)

    def record(self, event: Event) -> None:
        """Record an event after all work that is on the stream now."""
        self._driver.record_event(event.handle, self.handle)

    def wait(self, event: Event) -> None:
        """Make later work wait for an event of another stream."""
        self._driver.wait_event(self.handle, event.handle)

    def synchronize(self) -> None:
        """Wait until all work is done.

        Raises:
            CudaError: some of the work failed.
        """
        self._driver.synchronize_stream(self.handle)

    def capture(self, work: Callable[[], None]) -> Graph | None:
        """Capture the work that ``work`` starts on this stream as a graph.

        Returns None, and does not call ``work``, if the library has no graphs.

        Args:
            work: starts work on this stream, and waits for nothing.
        """
        if not self._driver.can_capture:
            return None
        self._driver.begin_capture(self.handle)
        try:
            work()
            handle = self._driver.end_capture(self.handle)
        except BaseException:
            _discard_capture(self._driver, self.handle)
            raise
        return Graph(self._driver, handle)


def _discard_capture(driver: Driver, stream: int) -> None:
    with suppress(CudaError):  # the capture may be over already, and its error is about to be raised
        driver.destroy_graph(driver.end_capture(stream))


class Device(_Resource):
    """One GPU, and a CUDA context on it that is current in this thread until the device is closed.

    Args:
        index: number of the GPU in the driver's order; ignored with ``adopt``.
        driver: the library to call the driver through; ``open_driver`` chooses one if not given.
        adopt: use the context that is current in this thread, such as one that pycuda made, and do not release it.

    Attributes:
        index: number of the GPU in the driver's order.
        name: the driver's name for the GPU.
        compute_capability: compute capability, such as (8, 7).
        integrated: whether the GPU works in the host's memory, as on a Jetson.

    Raises:
        CudaError: there is no driver, no such GPU, or no context to adopt.
    """

    def __init__(self, index: int = 0, driver: Driver | None = None, *, adopt: bool = False) -> None:
        self.driver = driver or open_driver()
        with ExitStack() as undo:
            self.index = self._adopt() if adopt else self._open(index, undo)
            self.name = self.driver.device_name(self.index)
            self.compute_capability = self.driver.compute_capability(self.index)
            self.integrated = self.driver.integrated(self.index)
            super().__init__(undo.pop_all().close)

    def _adopt(self) -> int:
        self._context = self.driver.current_context()
        if not self._context:
            raise CudaError("CUDA_ERROR_INVALID_CONTEXT", "this thread has no CUDA context to adopt")
        return self.driver.current_device()

    def _open(self, index: int, undo: ExitStack) -> int:
        count = self.driver.device_count()
        if not 0 <= index < count:
            raise CudaError(
                "CUDA_ERROR_NO_DEVICE", f"there is no GPU {index}: the driver finds {count}, counted from 0"
            )
        before = self.driver.current_context()
        self._context = self.driver.retain_context(index)
        undo.callback(self.driver.release_context, index)
        undo.callback(self._deactivate, before)
        self.activate()
        return index

    def _deactivate(self, before: int) -> None:
        if self.driver.current_context() != self._context:
            return
        try:
            self.driver.set_context(before)
        except CudaError as error:
            if error.name not in {"CUDA_ERROR_INVALID_CONTEXT", "CUDA_ERROR_CONTEXT_IS_DESTROYED"}:
                raise
            self.driver.set_context(0)  # the earlier context was destroyed meanwhile by its owner

    def activate(self) -> None:
        """Make this GPU's context current in the calling thread; needed first in any thread but the opening one."""
        self.driver.set_context(self._context)

    def memory(self) -> tuple[int, int]:
        """Return the free and total bytes of memory."""
        return self.driver.memory()

    def buffer(self, nbytes: int) -> DeviceBuffer:
        """Allocate device memory, at least one byte.

        Raises:
            CudaError: there is not enough memory.
        """
        return DeviceBuffer(self.driver, max(1, nbytes))

    def pinned(self, shape: Sequence[int], dtype: npt.DTypeLike) -> PinnedArray:
        """Allocate pinned host memory."""
        return PinnedArray(self.driver, shape, dtype)

    def mapped(self, shape: Sequence[int], dtype: npt.DTypeLike) -> MappedArray:
        """Allocate pinned host memory that the GPU shares."""
        return MappedArray(self.driver, shape, dtype)

    def stream(self, adopted: object | None = None) -> Stream:
        """Create a stream, or adopt the caller's: a handle, a pycuda Stream, or anything with ``__cuda_stream__``."""
        return Stream(self.driver, adopted)

    def event(self) -> Event:
        """Create an event."""
        return Event(self.driver)

    def module(self, image: bytes) -> Module:
        """Load kernels from a cubin, or from PTX that ends in NUL.

        Raises:
            CudaError: the driver refused them.
        """
        return Module(self.driver, image)


def _too_little(error: CudaError, nbytes: int, driver: Driver) -> CudaError:
    """Add to an allocation's error how much was asked for, and how much is free."""
    doing = f"allocating {nbytes / _MIB:.1f} MiB on the GPU"
    if error.name != "CUDA_ERROR_OUT_OF_MEMORY":
        return refused(error.name, doing)
    try:
        free, total = driver.memory()
    except CudaError:
        return refused(error.name, doing)
    return refused(error.name, f"{doing}, which has {free / _MIB:.1f} of {total / _MIB:.1f} MiB free,")


def _complete(image: bytes) -> bytes:
    """Check that an image is complete, since the driver is told no size and finds the end itself.

    Raises:
        CudaError: the image is cut off, or is neither a cubin nor PTX.
    """
    if image.startswith(b"\x7fELF") and len(image) >= _ELF.size:
        fields = _ELF.unpack_from(image)
        end = fields[_SECTIONS_AT] + fields[_SECTION_SIZE] * fields[_SECTIONS]
        if end <= len(image):
            return image
    elif b".version" in image:
        return image if image.endswith(b"\0") else image + b"\0"
    raise CudaError("CUDA_ERROR_INVALID_IMAGE", "the kernels are neither a whole cubin nor PTX: build the bundle again")


def _unsuitable(error: CudaError, image: bytes, driver: Driver) -> CudaError:
    """Add what the image needs and what the driver supports to an error, if that is its reason."""
    if error.name not in _UNSUITABLE:
        return error
    ptx = re.search(rb"\.version\s+([\d.]+)\s+\.target\s+(\w+)", image)
    if image.startswith(b"\x7fELF") or ptx is None:
        kind = "a cubin for another GPU or of another CUDA release"
    else:
        kind = f"PTX {ptx[1].decode()} for {ptx[2].decode()}"
    major, minor = driver.release()
    return CudaError(
        error.name,
        f"loading the kernels failed: they are {kind}, and the driver, of CUDA {major}.{minor}, does not take it: "
        "install a newer driver, or build the bundle again for this GPU and by the driver's CUDA release",
    )


def _check_copy(buffer: DeviceBuffer, array: npt.NDArray[Any]) -> None:
    if not array.flags.c_contiguous or array.nbytes > buffer.nbytes:
        raise ValueError(
            f"cannot copy an array of {array.nbytes} bytes (contiguous: {array.flags.c_contiguous}) and a buffer of "
            f"{buffer.nbytes}: the array must be contiguous and no larger than the buffer"
        )
