"""Memory for frames that the GPU reads where a source wrote them, so that nothing is copied on the way.

The memory is pinned; where the GPU works in the host's memory, as on a Jetson, it is also mapped, and the kernel reads
it in place. Frames in other memory are copied into it once.
"""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import lru_cache
from threading import RLock
from typing import Any
from weakref import finalize

import numpy as np
import numpy.typing as npt

from ssd_edge.engines.cuda.device import Device, KeptContext
from ssd_edge.engines.cuda.driver import CudaError
from ssd_edge.engines.cuda.memory import MappedArray, PinnedArray
from ssd_edge.engines.kernels.launch import words
from ssd_edge.pixels import Layout, Pixels, RawFrame, packed

Bytes = npt.NDArray[np.uint8]

_PAGE = 4096
_KEPT = 8
"""Blocks that wait for a next frame; beyond them, memory is given back."""


@dataclass(frozen=True)
class DeviceFrame:
    """A frame that lies where the GPU can read it, such as a camera's surface.

    Attributes:
        address: address of its memory for kernels, whole words up to ``layout.nbytes``.
        layout: how the frame lies in it.
        owner: kept until the GPU has read the frame.
    """

    address: int
    layout: Layout
    owner: object = None


@dataclass(frozen=True)
class Held:
    """A frame ready for the GPU; its memory is not used again while this object lives.

    Attributes:
        layout: how the frame lies in its memory.
        address: where kernels read it; 0 if it has to be copied to the GPU first.
        data: (n,) uint8, what to copy.
        owner: keeps the memory.
    """

    layout: Layout
    address: int
    data: Bytes | None
    owner: object


class _Owner:
    """What an array of the pool is a view of: NumPy keeps it as long as any view of the array lives."""

    def __init__(self, array: Bytes) -> None:
        self.__array_interface__ = array.__array_interface__


class FramePool:
    """Blocks of pinned memory, lent for one frame at a time; any thread may use it.

    Args:
        device: the GPU.
        mapped: whether the GPU reads the blocks in place; by default, whether it works in the host's memory.
    """

    def __init__(self, device: Device, mapped: bool | None = None) -> None:
        self.mapped = device.integrated if mapped is None else mapped
        self._device = device
        self._context: KeptContext | None = device.keep()
        self._lock = RLock()  # a block may come back wherever Python collects garbage, also within these methods
        self._lent: dict[int, PinnedArray | MappedArray] = {}  # by the address of its array
        self._back: deque[PinnedArray | MappedArray] = deque()
        self._free: list[PinnedArray | MappedArray] = []
        self._closed = False

    def take(self, nbytes: int) -> Bytes:
        """Lend memory, (nbytes,) uint8, until the array and all its views are gone; ordinary memory after ``close``.

        Raises:
            CudaError: there is not enough memory.
        """
        with self._lock:
            if self._closed:
                return np.empty(nbytes, np.uint8)
            self._collect()
            fitting = [block for block in self._free if nbytes <= block.array.size <= 2 * nbytes + _PAGE]
            if fitting:
                block = min(fitting, key=lambda one: one.array.size)
                self._free.remove(block)
            else:
                block = self._allocate(-(-max(1, nbytes) // _PAGE) * _PAGE)
            owner = _Owner(block.array)
            self._lent[_start(block.array)] = block
            finalize(owner, self._return, block).atexit = False
            array = np.asarray(owner)
        return array[:nbytes]

    def hold(self, frame: Pixels | DeviceFrame) -> Held:
        """Bring a frame into memory that the GPU reaches; one that lies in the pool stays where it is.

        Raises:
            CudaError: there is not enough memory.
        """
        if isinstance(frame, DeviceFrame):
            return Held(frame.layout, frame.address, None, frame.owner)
        if isinstance(frame, RawFrame):
            data, layout = frame.memory[: frame.layout.nbytes], frame.layout
        else:
            layout = _bgr(frame.shape[0], frame.shape[1])
            data = frame.reshape(-1)  # a copy if rows or pixels do not follow each other
        address = self._address(data)
        if address is None:
            own = self.take(words(data.size))[: data.size]
            np.copyto(own, data)
            data, address = own, self._address(own)
        return Held(layout, address or 0, None if address else data, data)

    def close(self) -> None:
        """Give the memory back; blocks that are still lent, as soon as their arrays are gone."""
        self._closed = True
        self._end()

    def _allocate(self, nbytes: int) -> PinnedArray | MappedArray:
        while len(self._free) >= _KEPT:
            self._free.pop(0).close()
        self._device.activate()  # the calling thread may be a source's own
        return (self._device.mapped if self.mapped else self._device.pinned)((nbytes,), np.uint8)

    def _address(self, data: Bytes) -> int | None:
        """Address for kernels of bytes that lie in the pool, 0 if it is not mapped; None of others."""
        if not data.flags.c_contiguous:
            return None
        start = _start(data)
        with self._lock:
            for begin, block in self._lent.items():
                if begin <= start and start + data.size <= begin + block.array.size:
                    return block.address + start - begin if isinstance(block, MappedArray) else 0
        return None

    def _collect(self) -> None:
        while self._back:
            block = self._back.popleft()
            self._lent.pop(_start(block.array), None)
            self._free.append(block)

    def _return(self, block: PinnedArray | MappedArray) -> None:
        self._back.append(block)
        if self._closed:
            with suppress(CudaError):  # nobody asked for this release, so nobody can be told
                self._end()

    def _end(self) -> None:
        """After ``close``: release what has come back, and the context with the last of it."""
        with self._lock:
            self._collect()
            done, self._free = self._free, []
            context = self._context
            if context is None or (self._lent and not done):
                return
            with ExitStack() as stack:
                if not self._lent:
                    self._context = None
                    stack.enter_context(context)
                try:
                    stack.enter_context(context.entered())
                finally:  # release them even if that was refused
                    for block in done:
                        stack.enter_context(block)


def _start(array: npt.NDArray[np.uint8]) -> int:
    start: Any = array.__array_interface__["data"][0]
    return int(start)


@lru_cache(maxsize=16)
def _bgr(height: int, width: int) -> Layout:
    return packed("BGR", (height, width))
