"""CUDA from Python: device and pinned memory, streams, events, kernels and graphs.

Each object is a context manager made by a ``Device``, over one of two libraries that wrap NVIDIA's driver: see
``driver.py``.

    with Device() as device, device.buffer(4096) as buffer, device.stream() as stream: ...
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from warnings import catch_warnings, filterwarnings

import numpy.typing as npt

from ssd_edge.engines.cuda.driver import CudaError, Driver, no_driver, no_function
from ssd_edge.engines.cuda.memory import DeviceBuffer, MappedArray, PinnedArray
from ssd_edge.engines.cuda.module import Module
from ssd_edge.engines.cuda.resource import Resource
from ssd_edge.engines.cuda.stream import Event, Stream
from ssd_edge.machine.gpu_packages import missing


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
                raise missing("cuda-bindings", "running on a GPU") from None
    if library in {"", "pycuda"}:
        try:
            with catch_warnings():  # what pycuda warns of, the error below says
                filterwarnings("ignore", "Failed to import the CUDA driver interface")
                from ssd_edge.engines.cuda.pycuda import PyCuda

            return PyCuda()
        except ModuleNotFoundError:
            pass
        except ImportError as error:  # pycuda links with the driver's library
            lacking = re.search(r"undefined symbol: (cu\w+)", str(error))
            raise no_function(lacking[1]) if lacking else no_driver(str(error)) from None
    raise missing(library or "cuda-bindings (or pycuda)", "running on a GPU") from None


class Device(Resource):
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
        self.driver, self._adopted = driver or open_driver(), adopt
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

    def keep(self) -> KeptContext:
        """Keep this GPU's context beyond ``close``, for what has to be released later."""
        return KeptContext(self.driver, self._context, None if self._adopted else self.index)

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


class KeptContext(Resource):
    """A GPU's context that lives until this object is closed too; one that was adopted lives as its owner wants.

    Args:
        driver: the driver.
        context: the context.
        index: number of the GPU whose primary context it is; None if it was adopted.
    """

    def __init__(self, driver: Driver, context: int, index: int | None) -> None:
        self._driver, self._context = driver, context
        if index is not None:
            driver.retain_context(index)
        super().__init__(lambda: None if index is None else driver.release_context(index))

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Make it the calling thread's context for a while."""
        before = self._driver.current_context()
        self._driver.set_context(self._context)
        try:
            yield
        finally:
            self._driver.set_context(before)
