"""The NVIDIA driver of this machine and its GPUs, found out in a millisecond and without a package."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass

from ssd_edge.errors import BackendError

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"

# CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of <cuda.h>.
_MAJOR, _MINOR = 75, 76
_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


@dataclass(frozen=True)
class Gpu:
    """A GPU as its driver describes it.

    Attributes:
        name: such as ``NVIDIA GeForce RTX 4090``.
        compute_capability: (8, 9).
    """

    name: str
    compute_capability: tuple[int, int]


@dataclass(frozen=True)
class Driver:
    """What a driver says of itself.

    Attributes:
        cuda: the latest CUDA release that it knows, (13, 0).
        gpus: in its order, at least one; ``CUDA_VISIBLE_DEVICES`` hides some.
    """

    cuda: tuple[int, int]
    gpus: tuple[Gpu, ...]


def find_driver(library: str = LIBRARY) -> Driver:
    """The driver that programs of this machine get.

    Raises:
        BackendError: there is none, or it has no GPU: in words that follow "needs an NVIDIA GPU and its driver, and".
    """
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        raise BackendError(f"no driver is installed ({library} is not there)") from None
    status = cuda.cuInit(0)
    if status == _NO_DEVICE:
        raise BackendError("the driver finds no GPU")
    if status:
        raise BackendError(f"the driver does not start (cuInit gave error {status}; nvidia-smi tells more)")
    release = _number(cuda.cuDriverGetVersion)
    gpus = tuple(_gpu(cuda, place) for place in range(_number(cuda.cuDeviceGetCount)))
    if not gpus:
        raise BackendError("the driver finds no GPU")
    return Driver((release // 1000, release % 1000 // 10), gpus)


def _gpu(cuda: ctypes.CDLL, place: int) -> Gpu:
    device = _number(cuda.cuDeviceGet, place)
    name = ctypes.create_string_buffer(256)
    _check(cuda.cuDeviceGetName(name, len(name), device))
    major, minor = (_number(cuda.cuDeviceGetAttribute, kind, device) for kind in (_MAJOR, _MINOR))
    return Gpu(name.value.decode(errors="replace"), (major, minor))


def _number(function: ctypes._NamedFuncPointer, *arguments: int) -> int:
    """What a function of the driver writes to its first argument, an int."""
    value = ctypes.c_int()
    _check(function(ctypes.byref(value), *arguments))
    return value.value


def _check(status: int) -> None:
    if status:
        raise BackendError(f"the driver answers with error {status} (nvidia-smi tells more)")
