"""The interface to NVIDIA's driver that ``device.py`` uses, and a sentence for each of the driver's errors.

``bindings.py`` and ``pycuda.py`` implement it over two libraries that wrap the driver.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ssd_edge.errors import BackendError

Argument = np.uint64 | np.int32
"""Argument of a kernel: a device address, or an int32 (a float as its bits)."""


class CudaError(BackendError):
    """The driver refused something.

    Attributes:
        name: name of the driver's error, such as ``CUDA_ERROR_OUT_OF_MEMORY``.
    """

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(sentence)
        self.name = name


class EglFrame(NamedTuple):
    """What the driver says of a mapped EGLImage.

    Attributes:
        resource: handle to unmap it by.
        addresses: address of each plane on the GPU; empty if its memory is not laid out in rows.
        pitch: bytes from one row to the next.
        size: (height, width) in pixels.
        kind: name of its CUeglColorFormat.
    """

    resource: int
    addresses: tuple[int, ...]
    pitch: int
    size: tuple[int, int]
    kind: str


class Prepared(Protocol):
    """A kernel with its grid and arguments; a launch costs no more than the driver's call."""

    def set_address(self, place: int, address: int) -> None:
        """Change an argument that is an address, for later launches."""

    def launch(self, stream: int) -> None:
        """Start the kernel."""


class Driver(Protocol):
    """The calls that ``device.py`` needs of a library that wraps the driver; handles and addresses are plain ints.

    Each method raises CudaError if the driver refuses the call; ``stream`` 0 is the default stream.
    """

    can_capture: bool
    """Whether a stream's work can be captured into a graph."""

    def release(self) -> tuple[int, int]:
        """Return the latest CUDA release that the driver supports, such as (13, 0)."""

    def device_count(self) -> int:
        """Count the GPUs that programs may use."""

    def device_name(self, index: int) -> str:
        """Return the driver's name for a GPU."""

    def compute_capability(self, index: int) -> tuple[int, int]:
        """Return a GPU's compute capability, such as (8, 7)."""

    def integrated(self, index: int) -> bool:
        """Whether the GPU has no memory of its own and works in the host's, as on a Jetson."""

    def retain_context(self, index: int) -> int:
        """Retain a GPU's primary context, which the libraries in this process share."""

    def release_context(self, index: int) -> None:
        """Release the context from ``retain_context``."""

    def current_context(self) -> int:
        """Return this thread's context; 0 if it has none."""

    def current_device(self) -> int:
        """Return the index of the current context's GPU."""

    def set_context(self, context: int) -> None:
        """Make a context this thread's; 0 for none."""

    def memory(self) -> tuple[int, int]:
        """Return the free and total bytes of memory on the current context's GPU."""

    def allocate(self, nbytes: int) -> int:
        """Allocate device memory, and return its address."""

    def free(self, address: int) -> None:
        """Free the memory from ``allocate``."""

    def allocate_pinned(self, nbytes: int) -> npt.NDArray[np.uint8]:
        """Allocate page-locked host memory, (nbytes,), which the GPU copies from and to directly."""

    def free_pinned(self, array: npt.NDArray[np.uint8]) -> None:
        """Free the memory from ``allocate_pinned`` or ``allocate_mapped``. Do not use the array afterwards."""

    def allocate_mapped(self, nbytes: int) -> tuple[npt.NDArray[np.uint8], int]:
        """Allocate pinned memory that the GPU also reads and writes: the array, (nbytes,), and its GPU address."""

    def upload(self, address: int, array: npt.NDArray[Any], stream: int) -> None:
        """Start a copy to the device."""

    def download(self, array: npt.NDArray[Any], address: int, stream: int) -> None:
        """Start a copy from the device."""

    def create_stream(self) -> int:
        """Create a stream that does not wait for the default stream."""

    def destroy_stream(self, stream: int) -> None:
        """Destroy the stream from ``create_stream``; work under way continues."""

    def adopt_stream(self, stream: object) -> int:
        """Return the handle of a stream that belongs to the caller.

        Raises:
            TypeError: this library cannot use the object as a stream.
        """

    def disown_stream(self, stream: int) -> None:
        """Forget the stream from ``adopt_stream``; it stays the caller's."""

    def synchronize_stream(self, stream: int) -> None:
        """Wait until all work on a stream is done."""

    def wait_event(self, stream: int, event: int) -> None:
        """Make a stream's later work wait for an event."""

    def create_event(self) -> int:
        """Create an event that records its time."""

    def destroy_event(self, event: int) -> None:
        """Destroy the event from ``create_event``."""

    def record_event(self, event: int, stream: int) -> None:
        """Record an event after all work that is on the stream now."""

    def synchronize_event(self, event: int) -> None:
        """Wait until an event has happened."""

    def milliseconds(self, start: int, end: int) -> float:
        """Return the time between two events that have happened."""

    def load_module(self, image: bytes) -> int:
        """Load kernels from a cubin, or from PTX that ends in NUL."""

    def unload_module(self, module: int) -> None:
        """Unload the kernels from ``load_module``."""

    def function(self, module: int, name: str) -> int:
        """Look up a kernel by its name."""

    def prepare(
        self,
        function: int,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: Sequence[Argument],
    ) -> Prepared:
        """Prepare a kernel's launch, to be started any number of times."""

    def begin_capture(self, stream: int) -> None:
        """Begin to record the stream's work instead of doing it."""

    def end_capture(self, stream: int) -> int:
        """Return the recorded work as a graph that can be launched; the capture ends even on an error."""

    def launch_graph(self, graph: int, stream: int) -> None:
        """Start the work of a graph."""

    def destroy_graph(self, graph: int) -> None:
        """Destroy the graph from ``end_capture``."""

    def map_egl_image(self, image: int) -> EglFrame:
        """Map an EGLImage, given by its handle, for kernels."""

    def unmap_egl_image(self, resource: int) -> None:
        """Unmap the image from ``map_egl_image``, by its ``resource``."""


_HINTS = {
    "CUDA_ERROR_NO_DEVICE": "the driver finds no GPU: see nvidia-smi, and CUDA_VISIBLE_DEVICES",
    "CUDA_ERROR_OUT_OF_MEMORY": "the GPU is out of memory: end other programs on it (nvidia-smi lists them), "
    "or take a smaller model",
    "CUDA_ERROR_DEVICE_UNAVAILABLE": "another process holds the GPU (compute mode exclusive): end it "
    "(nvidia-smi lists it), or share the GPU by sudo nvidia-smi -c 0",
    "CUDA_ERROR_LAUNCH_FAILED": "a kernel ended in an error, and the GPU's context is lost: start again, "
    "and run ssd-edge under compute-sanitizer to find the place",
    "CUDA_ERROR_ILLEGAL_ADDRESS": "a kernel used memory that is not its own, and the GPU's context is lost: "
    "start again, and run ssd-edge under compute-sanitizer to find the place",
    "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH": "kernel driver and libcuda are of different releases: restart the machine",
}


def refused(name: str, doing: str) -> CudaError:
    """Put the driver's error into a sentence.

    Args:
        name: name of the error, such as ``CUDA_ERROR_LAUNCH_FAILED``.
        doing: the action that failed, such as "copying to the GPU".
    """
    return CudaError(name, f"{doing} failed: {_HINTS.get(name, f'the driver answers {name}')}")


def no_driver(reason: str) -> CudaError:
    """Make the error for a machine without a usable NVIDIA driver."""
    return CudaError(
        "CUDA_ERROR_NOT_INITIALIZED",
        f"this machine has no NVIDIA driver that can be used ({reason}): install it (nvidia-smi must list the GPU), "
        "or run a bundle built with --backend openvino",
    )


def no_function(name: str) -> CudaError:
    """Make the error for a driver's library that lacks a function that CUDA needs."""
    return CudaError(
        "CUDA_ERROR_NOT_FOUND",
        f"NVIDIA's driver has no function {name}, though CUDA needs it: install the driver again, whole and of "
        "one release, and in a container use the host's libcuda (--runtime nvidia or --gpus all)",
    )


def stream_handle(stream: object) -> int | None:
    """Return the CUstream of a handle, a pycuda Stream, or an object with ``__cuda_stream__``; None for others."""
    if isinstance(stream, int):
        return stream
    protocol = getattr(stream, "__cuda_stream__", None)
    if protocol is not None:
        return int(protocol()[1])
    handle = getattr(stream, "handle", None)
    return handle if isinstance(handle, int) else None
