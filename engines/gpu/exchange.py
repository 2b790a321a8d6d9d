"""Memory through which host and GPU exchange data: two buffers with copies between them, or one buffer that both see.

On a Jetson the GPU works in the CPU's memory, so a copy would only move bytes within it. There the GPU uses the host's
pinned memory itself. The GPU does not cache that memory: fine for data that is read or written once, such as a frame
and its results, but not for the network's own tensors (CUDA for Tegra, "Memory Selection").
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, TypeVar

import numpy.typing as npt

from ssd_edge.engines.cuda.device import Device
from ssd_edge.engines.cuda.stream import Stream

_Self = TypeVar("_Self", bound="Exchange")


class Exchange(ABC):
    """An array that both host and GPU can use, released at the end of its ``with``.

    Attributes:
        address: its address on the GPU.
    """

    address: int

    def __init__(self, held: ExitStack) -> None:
        self._held = held

    @property
    @abstractmethod
    def array(self) -> npt.NDArray[Any]:
        """The host's view of the memory."""

    @abstractmethod
    def to_device(self, stream: Stream, number: int) -> None:
        """Make the host's writes visible to later work of the stream. Do not write until that work is done.

        Args:
            stream: the stream.
            number: how many of the array's first items are needed.
        """

    @abstractmethod
    def to_host(self, stream: Stream, number: int) -> None:
        """Make the writes of the stream's earlier work visible to the host, once the stream reaches this point.

        Args:
            stream: the stream.
            number: how many of the array's first items are needed.
        """

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.__exit__(kind, error, trace)


class Copied(Exchange):
    """Pinned memory on the host, and a buffer on the GPU that may be read and written any number of times."""

    def __init__(self, device: Device, shape: Sequence[int], dtype: npt.DTypeLike) -> None:
        with ExitStack() as stack:
            self._pinned = stack.enter_context(device.pinned(shape, dtype))
            self._buffer = stack.enter_context(device.buffer(self._pinned.array.nbytes))
            super().__init__(stack.pop_all())
        self.address = self._buffer.address

    @property
    def array(self) -> npt.NDArray[Any]:
        """See ``Exchange``."""
        return self._pinned.array

    def to_device(self, stream: Stream, number: int) -> None:
        """See ``Exchange``."""
        stream.upload(self._buffer, self._pinned.array[:number])

    def to_host(self, stream: Stream, number: int) -> None:
        """See ``Exchange``."""
        stream.download(self._pinned.array[:number], self._buffer)


class Shared(Exchange):
    """One buffer that both see; nothing is copied."""

    def __init__(self, device: Device, shape: Sequence[int], dtype: npt.DTypeLike) -> None:
        with ExitStack() as stack:
            self._mapped = stack.enter_context(device.mapped(shape, dtype))
            super().__init__(stack.pop_all())
        self.address = self._mapped.address

    @property
    def array(self) -> npt.NDArray[Any]:
        """See ``Exchange``."""
        return self._mapped.array

    def to_device(self, stream: Stream, number: int) -> None:
        """Do nothing: the memory is shared. See ``Exchange``."""

    def to_host(self, stream: Stream, number: int) -> None:
        """Do nothing: the memory is shared. See ``Exchange``."""


def exchange(device: Device, shape: Sequence[int], dtype: npt.DTypeLike) -> Exchange:
    """Allocate memory for data that is written once and read once, of the kind that suits the GPU."""
    return (Shared if device.integrated else Copied)(device, shape, dtype)
