"""CUDA from Python: device and pinned memory, streams, events, kernels and graphs, each released in its turn.

Everything here is a context manager made by a ``Device``, over either of two libraries that wrap NVIDIA's driver: see
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

_ELF = struct.Struct("<16sHHIQQQIHHHHHH")  # the header of an ELF file of 64 bits, and places in it
_SECTIONS_AT, _SECTION_SIZE, _SECTIONS = 6, 11, 12

_Self = TypeVar("_Self", bound="_Resource")


def open_driver(library: str = "") -> Driver:
    """The driver, through ``cuda-bindings`` where that is installed, else ``pycuda``.

    Args:
        library: ``cuda-bindings`` or ``pycuda`` to insist on one.

    Raises:
        MissingDependencyError: it is not installed.
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
        except ImportError as error:  # it links with the driver's library
            raise no_driver(str(error)) from None
    raise MissingDependencyError(library or "cuda-bindings (or pycuda)", "cuda", "running on a GPU") from None


class _Resource:
    """Released at the end of its ``with``, or by ``close``, once."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back: Callable[[], None] | None = give_back

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What went wrong first is what is told: releases that fail after it mostly fail because of it.
        with suppress(CudaError) if error is not None else nullcontext():
            self.close()

    def close(self) -> None:
        """Give it back; a second time does nothing."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()


class DeviceBuffer(_Resource):
    """Memory on the GPU, aligned to 256 bytes.

    Attributes:
        address: its first byte, for kernels and copies only.
        nbytes: its size.
    """

    def __init__(self, driver: Driver, nbytes: int) -> None:
        try:
            self.address, self.nbytes = driver.allocate(nbytes), nbytes
        except CudaError as error:
            raise _too_little(error, nbytes, driver) from None
        super().__init__(lambda: driver.free(self.address))


class PinnedArray(_Resource):
    """Host memory for copies that go on while the program does.

    Attributes:
        array: (shape) of the dtype; gone once closed.
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
    """Pinned host memory that the GPU reads and writes where it lies.

    Attributes:
        array: (shape) of the dtype; gone once closed.
        address: the GPU's, for kernels.
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
        """Wait until it has happened."""
        self._driver.synchronize_event(self.handle)

    def milliseconds_since(self, earlier: Event) -> float:
        """Between two events that have happened."""
        return self._driver.milliseconds(earlier.handle, self.handle)


class Graph(_Resource):
    """Work that was captured, and is started by one call."""

    def __init__(self, driver: Driver, handle: int) -> None:
        self._driver, self.handle = driver, handle
        super().__init__(lambda: driver.destroy_graph(handle))

    def launch(self, stream: Stream) -> None:
        """Start it after what is on the stream."""
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
        """A kernel's handle.

        Raises:
            CudaError: the module has none of that name.
        """
        if name not in self._functions:
            self._functions[name] = self._driver.function(self._handle, name)
        return self._functions[name]


class Stream(_Resource):
    """Work that is done in order, beside the program and other streams.

    Attributes:
        handle: the driver's CUstream, which TensorRT and others take.
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
        """Copy a contiguous array to the device; pinned, it must stay as it is until the copy is done."""
        _check_copy(buffer, array)
        self._driver.upload(buffer.address, array, self.handle)

    def download(self, array: npt.NDArray[Any], buffer: DeviceBuffer) -> None:
        """Copy from the device into a contiguous array, which has its values once the stream has come so far."""
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
        """Let an event happen once all work up to now is done."""
        self._driver.record_event(event.handle, self.handle)

    def wait(self, event: Event) -> None:
        """Let later work wait for an event of another stream."""
        self._driver.wait_event(self.handle, event.handle)

    def synchronize(self) -> None:
        """Wait until all work is done.

        Raises:
            CudaError: some of it failed.
        """
        self._driver.synchronize_stream(self.handle)

    def capture(self, work: Callable[[], None]) -> Graph | None:
        """What ``work`` starts on this stream, as a graph; None where the library cannot, and nothing is called then.

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
    with suppress(CudaError):  # it may be over already, and what went wrong in it is about to be told
        driver.destroy_graph(driver.end_capture(stream))


class Device(_Resource):
    """One GPU, and a CUDA context on it that is this thread's until the device is closed.

    Args:
        index: which, in the driver's order; not asked for with ``adopt``.
        driver: the library to call it through; by default as ``open_driver`` chooses.
        adopt: work in the context that is this thread's already, such as one that pycuda made, and leave it behind.

    Attributes:
        index: in the driver's order.
        name: as the driver calls it.
        compute_capability: such as (8, 7).
        integrated: whether it works in the host's memory, as on a Jetson.

    Raises:
        CudaError: no driver, no such GPU, or no context to adopt.
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
            self.driver.set_context(0)  # whoever made that one has ended it meanwhile

    def activate(self) -> None:
        """Make this GPU the calling thread's: whoever uses it in another thread than opened it calls this first."""
        self.driver.set_context(self._context)

    def memory(self) -> tuple[int, int]:
        """Bytes free and in all."""
        return self.driver.memory()

    def buffer(self, nbytes: int) -> DeviceBuffer:
        """Device memory, at least one byte.

        Raises:
            CudaError: there is not so much.
        """
        return DeviceBuffer(self.driver, max(1, nbytes))

    def pinned(self, shape: Sequence[int], dtype: npt.DTypeLike) -> PinnedArray:
        """Pinned host memory."""
        return PinnedArray(self.driver, shape, dtype)

    def mapped(self, shape: Sequence[int], dtype: npt.DTypeLike) -> MappedArray:
        """Pinned host memory that the GPU shares."""
        return MappedArray(self.driver, shape, dtype)

    def stream(self, adopted: object | None = None) -> Stream:
        """A stream of its own, or the caller's: a handle, a pycuda Stream, or anything with ``__cuda_stream__``."""
        return Stream(self.driver, adopted)

    def event(self) -> Event:
        """An event."""
        return Event(self.driver)

    def module(self, image: bytes) -> Module:
        """Kernels of a cubin, or of PTX that ends in NUL.

        Raises:
            CudaError: the driver does not take it.
        """
        return Module(self.driver, image)


def _too_little(error: CudaError, nbytes: int, driver: Driver) -> CudaError:
    """The same error with what was asked for, and what there is."""
    doing = f"allocating {nbytes / _MIB:.1f} MiB on the GPU"
    if error.name != "CUDA_ERROR_OUT_OF_MEMORY":
        return refused(error.name, doing)
    try:
        free, total = driver.memory()
    except CudaError:
        return refused(error.name, doing)
    return refused(error.name, f"{doing}, which has {free / _MIB:.1f} of {total / _MIB:.1f} MiB free,")


def _complete(image: bytes) -> bytes:
    """The image, whose end the driver has to find by itself: it is told no size.

    Raises:
        CudaError: it is cut off, or neither a cubin nor PTX.
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
    """The same error with what the image needs, and what the driver knows, where one of these is the reason."""
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
            f"cannot copy {array.nbytes} bytes (contiguous: {array.flags.c_contiguous}) and {buffer.nbytes}"
        )
