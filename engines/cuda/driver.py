"""The calls that ``device.py`` makes of NVIDIA's driver, as a protocol, and a sentence for each of the driver's errors.

Two libraries wrap the driver: ``bindings.py`` and ``pycuda.py`` implement the protocol over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ssd_edge.errors import BackendError

Argument = np.uint64 | np.int32
"""Of a kernel: a device address, or an int32 (a float as its bits)."""


class CudaError(BackendError):
    """The driver refused something.

    Attributes:
        name: of the driver's error, such as ``CUDA_ERROR_OUT_OF_MEMORY``.
    """

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(sentence)
        self.name = name


class Driver(Protocol):
    """NVIDIA's driver as ``device.py`` calls it. Handles and device addresses are plain ints.

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

    def integrated(self, index: int) -> bool:
        """Whether the GPU works in the host's memory, as on a Jetson, and has none of its own."""

    def retain_context(self, index: int) -> int:
        """The GPU's primary context, which libraries in this process share."""

    def release_context(self, index: int) -> None:
        """The inverse."""

    def current_context(self) -> int:
        """Of this thread; 0 if there is none."""

    def current_device(self) -> int:
        """The index of the GPU to which the current context belongs."""

    def set_context(self, context: int) -> None:
        """Make it this thread's; 0 for none."""

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

    def allocate_mapped(self, nbytes: int) -> tuple[npt.NDArray[np.uint8], int]:
        """Pinned memory that the GPU reads and writes too, (nbytes,), and its address there; see ``free_pinned``."""

    def upload(self, address: int, array: npt.NDArray[Any], stream: int) -> None:
        """Start a copy to the device."""

    def download(self, array: npt.NDArray[Any], address: int, stream: int) -> None:
        """Start a copy from the device."""

    def create_stream(self) -> int:
        """That does not wait for the default stream."""

    def destroy_stream(self, stream: int) -> None:
        """The inverse; work under way goes on."""

    def adopt_stream(self, stream: object) -> int:
        """The handle of a stream that is the caller's.

        Raises:
            TypeError: it is none that this library can use.
        """

    def disown_stream(self, stream: int) -> None:
        """The inverse; the stream stays the caller's."""

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


_HINTS = {
    "CUDA_ERROR_NO_DEVICE": "the driver finds no GPU: see nvidia-smi, and CUDA_VISIBLE_DEVICES",
    "CUDA_ERROR_OUT_OF_MEMORY": "the GPU is out of memory: end other programs on it (nvidia-smi lists them), "
    "or take a smaller model",
    "CUDA_ERROR_LAUNCH_FAILED": "a kernel ended in an error, and the GPU's context is lost: start again, "
    "and run ssd-edge under compute-sanitizer to find the place",
    "CUDA_ERROR_ILLEGAL_ADDRESS": "a kernel used memory that is not its own, and the GPU's context is lost: "
    "start again, and run ssd-edge under compute-sanitizer to find the place",
    "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH": "kernel driver and libcuda are of different releases: restart the machine",
}


def refused(name: str, doing: str) -> CudaError:
    """The driver's error in a sentence.

    Args:
        name: of the error, such as ``CUDA_ERROR_LAUNCH_FAILED``.
        doing: what was tried, as "copying to the GPU".
    """
    return CudaError(name, f"{doing} failed: {_HINTS.get(name, f'the driver answers {name}')}")


def no_driver(reason: str) -> CudaError:
    """There is nothing to call."""
    return CudaError(
        "CUDA_ERROR_NOT_INITIALIZED",
        f"this machine has no NVIDIA driver that can be used ({reason}): install it (nvidia-smi must list the GPU), "
        "or run a bundle built with --backend openvino",
    )


def stream_handle(stream: object) -> int | None:
    """The CUstream of a handle, a pycuda Stream, or an object of the ``__cuda_stream__`` protocol; else None."""
    if isinstance(stream, int):
        return stream
    protocol = getattr(stream, "__cuda_stream__", None)
    if protocol is not None:
        return int(protocol()[1])
    handle = getattr(stream, "handle", None)
    return handle if isinstance(handle, int) else None
