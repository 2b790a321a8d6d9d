"""Memory by which host and GPU exchange what they have: copied between two places, or one place that both see.

On a Jetson the GPU works in the CPU's memory, so that a copy would only move bytes from one place of it to another.
There the GPU is given the host's pinned memory itself. It does not cache it, which is well for what is read or written
once, a frame and its results, and not for what a network works on (CUDA for Tegra, "Memory Selection").
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, TypeVar

import numpy.typing as npt

from ssd_edge.engines.cuda.device import Device, Stream

_Self = TypeVar("_Self", bound="Exchange")


class Exchange(ABC):
    """An array that host and GPU both reach, released at the end of its ``with``.

    Attributes:
        address: the GPU's.
    """

    address: int

    def __init__(self, held: ExitStack) -> None:
        self._held = held

    @property
    @abstractmethod
    def array(self) -> npt.NDArray[Any]:
        """The host's view of it."""

    @abstractmethod
    def to_device(self, stream: Stream) -> None:
        """Let the stream's later work find what the host has written; nothing is written until it is done."""

    @abstractmethod
    def to_host(self, stream: Stream) -> None:
        """Let the host find what the stream's earlier work has written, once the stream has come so far."""

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.__exit__(kind, error, trace)


class Copied(Exchange):
    """Pinned memory of the host, and the GPU's own, on which it works as often as it likes."""

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

    def to_device(self, stream: Stream) -> None:
        """See ``Exchange``."""
        stream.upload(self._buffer, self._pinned.array)

    def to_host(self, stream: Stream) -> None:
        """See ``Exchange``."""
        stream.download(self._pinned.array, self._buffer)


class Shared(Exchange):
    """One place only: nothing is copied."""

    def __init__(self, device: Device, shape: Sequence[int], dtype: npt.DTypeLike) -> None:
        with ExitStack() as stack:
            self._mapped = stack.enter_context(device.mapped(shape, dtype))
            super().__init__(stack.pop_all())
        self.address = self._mapped.address

    @property
    def array(self) -> npt.NDArray[Any]:
        """See ``Exchange``."""
        return self._mapped.array

    def to_device(self, stream: Stream) -> None:
        """See ``Exchange``: it is there."""

    def to_host(self, stream: Stream) -> None:
        """See ``Exchange``: it is there."""


def exchange(device: Device, shape: Sequence[int], dtype: npt.DTypeLike) -> Exchange:
    """For what is written once and read once, as suits the GPU."""
    return (Shared if device.integrated else Copied)(device, shape, dtype)
