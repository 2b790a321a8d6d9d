"""CUDA from Python: device and pinned memory, streams, events, kernels and graphs, each released in its turn.

Everything here is a context manager made by a ``Device``, over either of two libraries that wrap NVIDIA's driver:
``cuda_bindings.py`` and ``cuda_pycuda.py``.

    with Device() as device, device.buffer(4096) as buffer, device.stream() as stream: ...
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from math import prod
from types import TracebackType
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from ssd_edge.errors import BackendError, MissingDependencyError

Argument = np.uint64 | np.int32
"""Of a kernel: a device address, or an int32 (a float as its bits)."""

_Self = TypeVar("_Self", bound="_Resource")


class CudaError(BackendError):
    """The driver refused something.

    Attributes:
        name: of the driver's error, such as ``CUDA_ERROR_OUT_OF_MEMORY``.
    """

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(sentence)
        self.name = name


class Driver(Protocol):
    """What this file needs of a library that wraps the driver. Handles and device addresses are plain ints.

    Each method raises CudaError where the driver refuses; ``stream`` 0 is the default stream.
    """

    can_capture: bool
    """Whether a stream's work can be captured into a graph."""

    def release(self) -> tuple[int, int]:
        """The latest CUDA release that the driver knows, (13, 0)."""

    def device_count(self) -> int:
        """GPUs that programs may use."""

    def device_name(self, index: int) -> str:
        """As the driver calls it."""

    def compute_capability(self, index: int) -> tuple[int, int]:
        """Such as (8, 7)."""

    def retain_context(self, index: int) -> int:
        """The GPU's primary context, which libraries in this process share."""

    def release_context(self, index: int) -> None:
        """The inverse."""

    def current_context(self) -> int:
        """Of this thread; 0 if there is none."""

    def set_context(self, context: int) -> None:
        """Make it this thread's."""

    def memory(self) -> tuple[int, int]:
        """Bytes free and in all on the current context's GPU."""

    def allocate(self, nbytes: int) -> int:
        """Device memory."""

    def free(self, address: int) -> None:
        """The inverse."""

    def allocate_pinned(self, nbytes: int) -> npt.NDArray[np.uint8]:
        """Host memory that is copied from and to without a detour, (nbytes,)."""

    def free_pinned(self, array: npt.NDArray[np.uint8]) -> None:
        """The inverse; nothing may look at the array afterwards."""

    def upload(self, address: int, array: npt.NDArray[Any], stream: int) -> None:
        """Start a copy to the device."""

    def download(self, array: npt.NDArray[Any], address: int, stream: int) -> None:
        """Start a copy from the device."""

    def create_stream(self) -> int:
        """That does not wait for the default stream."""

    def destroy_stream(self, stream: int) -> None:
        """The inverse; work under way goes on."""

    def synchronize_stream(self, stream: int) -> None:
        """Wait until all work on it is done."""

    def wait_event(self, stream: int, event: int) -> None:
        """Let a stream's later work wait for an event."""

    def create_event(self) -> int:
        """That takes the time."""

    def destroy_event(self, event: int) -> None:
        """The inverse."""

    def record_event(self, event: int, stream: int) -> None:
        """Let it happen once all work on the stream up to now is done."""

    def synchronize_event(self, event: int) -> None:
        """Wait until it has happened."""

    def milliseconds(self, start: int, end: int) -> float:
        """Between two events that have happened."""

    def load_module(self, image: bytes) -> int:
        """A cubin, or PTX with a NUL at its end."""

    def unload_module(self, module: int) -> None:
        """The inverse."""

    def function(self, module: int, name: str) -> int:
        """A kernel."""

    def launch(
        self,
        function: int,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        stream: int,
        arguments: Sequence[Argument],
    ) -> None:
        """Start a kernel."""

    def begin_capture(self, stream: int) -> None:
        """From now on work on the stream is noted, not done."""

    def end_capture(self, stream: int) -> int:
        """The noted work as a graph that can be launched; whatever happens, the capture is over."""

    def launch_graph(self, graph: int, stream: int) -> None:
        """Start all of it."""

    def destroy_graph(self, graph: int) -> None:
        """The inverse of ``end_capture``."""


def open_driver(library: str = "") -> Driver:
    """The driver, through ``cuda-bindings`` where that is installed, else ``pycuda``.

    Args:
        library: ``cuda-bindings`` or ``pycuda`` to insist on one.

    Raises:
        MissingDependencyError: it is not installed.
        CudaError: there is no driver.
    """
    if library in {"", "cuda-bindings"}:
        try:
            from ssd_edge.engines.cuda_bindings import Bindings

            return Bindings()
        except ModuleNotFoundError:
            if library:
                raise MissingDependencyError("cuda-bindings", "cuda", "running on a GPU") from None
    if library in {"", "pycuda"}:
        try:
            from ssd_edge.engines.cuda_pycuda import PyCuda

            return PyCuda()
        except ModuleNotFoundError:
            pass
    raise MissingDependencyError(library or "cuda-bindings (or pycuda)", "cuda", "running on a GPU") from None


def refused(name: str, doing: str, driver: Driver | None = None) -> CudaError:
    """The driver's error in a sentence.

    Args:
        name: of the error, such as ``CUDA_ERROR_LAUNCH_FAILED``.
        doing: what was tried, as "allocating 4.0 MiB on the GPU".
        driver: for what the machine has, where that helps.
    """
    if name in {"CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "CUDA_ERROR_INVALID_PTX", "CUDA_ERROR_NO_BINARY_FOR_GPU"}:
        known = "" if driver is None else " (CUDA {}.{})".format(*driver.release())
        return CudaError(
            name,
            f"{doing} failed: the kernels were compiled by a CUDA release or for a GPU that this driver{known} "
            "does not know: update the driver, or build the bundle again with an older compiler",
        )
    hints = {
        "CUDA_ERROR_NO_DEVICE": "the driver finds no GPU: see nvidia-smi, and CUDA_VISIBLE_DEVICES",
        "CUDA_ERROR_OUT_OF_MEMORY": "the GPU is out of memory: end other programs on it (nvidia-smi lists them), "
        "or take a smaller model",
        "CUDA_ERROR_LAUNCH_FAILED": "a kernel ended in an error, and the GPU's context is lost: start again, "
        "and run ssd-edge under compute-sanitizer to find the place",
        "CUDA_ERROR_ILLEGAL_ADDRESS": "a kernel used memory that is not its own, and the GPU's context is lost: "
        "start again, and run ssd-edge under compute-sanitizer to find the place",
        "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH": "kernel driver and libcuda are of different releases: restart the machine",
    }
    return CudaError(name, f"{doing} failed: {hints.get(name, f'the driver answers {name}')}")


def no_driver(reason: str) -> CudaError:
    """There is nothing to call."""
    return CudaError(
        "CUDA_ERROR_NOT_INITIALIZED",
        f"this machine has no NVIDIA driver that can be used ({reason}): install it (nvidia-smi must list the GPU), "
        "or run a bundle built with --backend openvino",
    )


class _Resource:
    """Released at the end of its ``with``, or by ``close``, once."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back: Callable[[], None] | None = give_back

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
        self.address, self.nbytes = driver.allocate(nbytes), nbytes
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
        self._driver, self._handle = driver, driver.load_module(image)
        super().__init__(lambda: driver.unload_module(self._handle))

    def function(self, name: str) -> int:
        """A kernel's handle.

        Raises:
            CudaError: the module has none of that name.
        """
        return self._driver.function(self._handle, name)


class Stream(_Resource):
    """Work that is done in order, beside the program and other streams.

    Attributes:
        handle: the driver's CUstream, which TensorRT and others take.
    """

    def __init__(self, driver: Driver, adopted: object | None = None) -> None:
        self._driver = driver
        self.handle = driver.create_stream() if adopted is None else stream_handle(adopted)
        super().__init__(lambda: driver.destroy_stream(self.handle) if adopted is None else None)

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
        except BaseException:
            _discard_capture(self._driver, self.handle)
            raise
        return Graph(self._driver, self._driver.end_capture(self.handle))


def _discard_capture(driver: Driver, stream: int) -> None:
    with suppress(CudaError):  # the capture is over, and what went wrong in it is about to be told
        driver.destroy_graph(driver.end_capture(stream))


class Device(_Resource):
    """One GPU.

    Args:
        index: which, in the driver's order; with ``adopt``, that to which the context belongs.
        driver: the library to call it through; by default as ``open_driver`` chooses.
        adopt: work in the context that is this thread's already, such as one that pycuda made, and leave it behind.

    Raises:
        CudaError: no driver, or no such GPU.
    """

    def __init__(self, index: int = 0, driver: Driver | None = None, *, adopt: bool = False) -> None:
        self.driver = driver or open_driver()
        count = self.driver.device_count()
        if index >= count:
            raise CudaError(
                "CUDA_ERROR_NO_DEVICE", f"there is no GPU {index}: the driver finds {count}, counted from 0"
            )
        self.name = self.driver.device_name(index)
        self.compute_capability = self.driver.compute_capability(index)
        if adopt:
            self._context = self.driver.current_context()
            if not self._context:
                raise CudaError("CUDA_ERROR_INVALID_CONTEXT", "this thread has no CUDA context to adopt")
            super().__init__(lambda: None)
        else:
            self._context = self.driver.retain_context(index)
            super().__init__(lambda: self.driver.release_context(index))
            with ExitStack() as undo:
                undo.callback(self.close)
                self.activate()
                undo.pop_all()

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


def stream_handle(stream: object) -> int:
    """The CUstream of a handle, a pycuda Stream, or an object of the ``__cuda_stream__`` protocol.

    Raises:
        TypeError: none of these.
    """
    if isinstance(stream, int):
        return stream
    protocol = getattr(stream, "__cuda_stream__", None)
    if protocol is not None:
        return int(protocol()[1])
    handle = getattr(stream, "handle", None)
    if handle is None:
        raise TypeError(f"a stream must be a handle, a pycuda Stream or have __cuda_stream__, but got {stream!r}")
    return int(handle)


def _check_copy(buffer: DeviceBuffer, array: npt.NDArray[Any]) -> None:
    if not array.flags.c_contiguous or array.nbytes > buffer.nbytes:
        raise ValueError(
            f"cannot copy {array.nbytes} bytes (contiguous: {array.flags.c_contiguous}) and {buffer.nbytes}"
        )
