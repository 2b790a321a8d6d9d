"""Memory on the GPU, and host memory that it reaches."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from ssd_edge.engines.cuda.driver import CudaError, Driver, refused
from ssd_edge.engines.cuda.resource import Resource

_MIB = 1 << 20


class DeviceBuffer(Resource):
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


class _HostArray(Resource):
    """Host memory of the driver, seen as an array.

    Attributes:
        array: array of the given shape and dtype; empty after ``close``.
    """

    def __init__(
        self, driver: Driver, memory: npt.NDArray[np.uint8], shape: Sequence[int], dtype: npt.DTypeLike
    ) -> None:
        kind = np.dtype(dtype)
        self.array: npt.NDArray[Any] = memory[: prod(shape) * kind.itemsize].view(kind).reshape(shape)
        super().__init__(lambda: driver.free_pinned(memory))

    def close(self) -> None:
        """See ``Resource``."""
        self.array = np.empty(0, self.array.dtype)
        super().close()


class PinnedArray(_HostArray):
    """Page-locked host memory, for copies that go on while the program does; see ``array``."""

    def __init__(self, driver: Driver, shape: Sequence[int], dtype: npt.DTypeLike) -> None:
        memory = driver.allocate_pinned(_bytes(shape, dtype))
        super().__init__(driver, memory, shape, dtype)


class MappedArray(_HostArray):
    """Pinned host memory that the GPU reads and writes in place; see ``array``.

    Attributes:
        address: the GPU's address of it, for kernels.
    """

    def __init__(self, driver: Driver, shape: Sequence[int], dtype: npt.DTypeLike) -> None:
        memory, self.address = driver.allocate_mapped(_bytes(shape, dtype))
        super().__init__(driver, memory, shape, dtype)


def _bytes(shape: Sequence[int], dtype: npt.DTypeLike) -> int:
    """Bytes of an array, at least one: the driver allocates no less."""
    return max(1, prod(shape) * np.dtype(dtype).itemsize)


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
