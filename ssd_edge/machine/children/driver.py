"""Ask the NVIDIA driver for its CUDA release and its GPUs, by the driver's own library, without any package."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from ssd_edge.machine.children import tell

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"

# CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR and _INTEGRATED of <cuda.h>.
_MAJOR, _MINOR, _INTEGRATED = 75, 76, 18


class RefusedError(Exception):
    """The driver answered a call with an error; ``args[0]`` is its number, a CUresult."""


def answer(library: str = LIBRARY) -> dict[str, Any]:
    """Ask a driver to describe itself.

    Returns:
        ``cuda`` [major, minor], the latest CUDA release that it supports, and ``gpus``, in its order: ``name``,
        ``compute_capability`` [major, minor], ``memory`` in bytes, ``integrated`` (part of the processor, as on a
        Jetson). Or ``missing``: why the library cannot be loaded. Or ``error``: the CUresult of the call that failed.
    """
    try:
        cuda = ctypes.CDLL(library)
    except OSError as error:
        return {"missing": str(error)}
    try:
        _check(cuda.cuInit(0))
        release = _number(cuda.cuDriverGetVersion)
        gpus = [_gpu(cuda, place) for place in range(_number(cuda.cuDeviceGetCount))]
    except RefusedError as refused:
        return {"error": refused.args[0]}
    return {"cuda": [release // 1000, release % 1000 // 10], "gpus": gpus}


def _gpu(cuda: ctypes.CDLL, place: int) -> dict[str, Any]:
    device = _number(cuda.cuDeviceGet, place)
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    _check(cuda.cuDeviceGetName(name, len(name), device))
    _check(cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device))
    major, minor, integrated = (
        _number(cuda.cuDeviceGetAttribute, attribute, device) for attribute in (_MAJOR, _MINOR, _INTEGRATED)
    )
    return {
        "name": name.value.decode(errors="replace"),
        "compute_capability": [major, minor],
        "memory": memory.value,
        "integrated": bool(integrated),
    }


def _number(function: Any, *arguments: int) -> int:
    """Return the int that a function of the driver writes to its first argument."""
    value = ctypes.c_int()
    _check(function(ctypes.byref(value), *arguments))
    return value.value


def _check(result: int) -> None:
    if result:
        raise RefusedError(result)


if __name__ == "__main__":
    tell(answer)
