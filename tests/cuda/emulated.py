"""The emulated driver in this process: what tests steer and ask. See emulated_driver/driver.h for what it is.

It is loaded under the real library's name before anything else looks for one. From then on cuda-bindings, pycuda and
``find_driver`` get it; outside of ``use_emulated_driver`` it answers as a driver that finds no GPU.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from tests.cuda.build import driver_library, kernel_library

KINDS = (
    "contexts",
    "device memory",
    "pinned memory",
    "streams",
    "events",
    "modules",
    "graphs",
    "executable graphs",
)


class Emulated:
    """One process has one."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        for function in ("emulated_called", "emulated_message"):
            getattr(library, function).restype = ctypes.c_char_p
        for function in ("emulated_calls", "emulated_left"):
            getattr(library, function).restype = ctypes.c_long
        self.failing = False
        """Whether a test made something fail since ``reset``."""

    def reset(self, kernels: Path | None = None) -> None:
        """As new, with the kernels of a library; by default the project's.

        One GPU of compute capability 8.6 with 1 GiB, under a driver that knows CUDA 13.0.
        """
        self.failing = False
        path = kernels or kernel_library().path
        assert not self._library.emulated_kernels(str(path).encode()), f"{path} cannot be loaded"
        self._library.emulated_reset()
        self._library.emulated_freed_while_used()
        self._library.emulated_fail_work(ctypes.c_long(-1), 0)

    def machine(self, **values: int) -> None:
        """Another machine: ``devices``, ``major``, ``minor``, ``release`` (13000 is CUDA 13.0), ``memory`` in bytes,
        ``integrated`` (1 where the GPU works in the CPU's memory).
        """
        for name, value in values.items():
            self._library.emulated_set(name.encode(), ctypes.c_long(value))

    def fail(self, call: int, result: int) -> None:
        """Let the call of this number, counted from 0 since ``reset``, give a CUresult and do nothing.

        A fatal one, such as 719, CUDA_ERROR_LAUNCH_FAILED, is the answer to all later ones too.
        """
        self.failing = True
        self._library.emulated_fail(ctypes.c_long(call), result)

    def fail_work(self, number: int, result: int) -> None:
        """Let a copy, kernel or host function fail on the GPU: the one of this number, counted from 0 from now on."""
        self.failing = True
        self._library.emulated_fail_work(ctypes.c_long(number), result)

    def calls(self) -> int:
        """How many calls there were since ``reset``."""
        return int(self._library.emulated_calls())

    def called(self) -> list[str]:
        """Their functions."""
        return [self._library.emulated_called(ctypes.c_long(number)).decode() for number in range(self.calls())]

    def leaks(self) -> dict[str, int]:
        """What was made and not given back, by its kind."""
        left = {kind: self._library.emulated_left(kind.encode()) for kind in KINDS}
        assert min(left.values()) >= 0
        return {kind: number for kind, number in left.items() if number}

    def refused_releases(self) -> int:
        """Calls that would have given something back, and were made to fail."""
        return int(self._library.emulated_refused_releases())

    def freed_while_used(self) -> int:
        """How often memory was freed under work that was still to be done; counted anew with each question."""
        return int(self._library.emulated_freed_while_used())

    def entered(self) -> int:
        """How many contexts this thread has entered and not left."""
        return int(self._library.emulated_entered())

    def message(self) -> str:
        """Why the last call was refused, or the last work failed."""
        return str(self._library.emulated_message().decode())


@contextmanager
def emulated_gpu() -> Iterator[Emulated]:
    """A machine with an emulated GPU; a test whose process has the real driver already is skipped."""
    emulated = use_emulated_driver()
    yield emulated
    emulated._library.emulated_wake(0)


def use_emulated_driver() -> Emulated:
    """From now on this machine has an emulated GPU."""
    emulated = _loaded()
    emulated._library.emulated_wake(1)
    emulated.reset()
    return emulated


@cache
def _loaded() -> Emulated:
    path = driver_library()
    library = ctypes.CDLL(str(path))
    if not hasattr(ctypes.CDLL("libcuda.so.1"), "emulated_wake"):
        pytest.skip("this process has loaded the machine's own driver already")
    return Emulated(library)
