"""Controls of the emulated driver in this process, for tests. See emulated_driver/driver.h for the driver itself.

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
    """The emulated driver, one per process."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        for function in ("emulated_called", "emulated_message"):
            getattr(library, function).restype = ctypes.c_char_p
        for function in ("emulated_calls", "emulated_left"):
            getattr(library, function).restype = ctypes.c_long
        self.failing = False
        """Whether a test made something fail since ``reset``."""

    def reset(self, kernels: Path | None = None) -> None:
        """Reset to the initial state, with the kernels of a library; by default the project's.

        One GPU of compute capability 8.6 with 1 GiB, under a driver that knows CUDA 13.0.
        """
        self.failing = False
        path = kernels or kernel_library().path
        assert not self._library.emulated_kernels(str(path).encode()), f"{path} cannot be loaded"
        self._library.emulated_reset()
        self._library.emulated_freed_while_used()
        self._library.emulated_fail_work(ctypes.c_long(-1), 0)

    def machine(self, **values: int) -> None:
        """Change the machine: ``devices``, ``major``, ``minor``, ``release`` (13000 is CUDA 13.0), ``memory`` in bytes,
        ``integrated`` (1 if the GPU works in the CPU's memory).
        """
        for name, value in values.items():
            self._library.emulated_set(name.encode(), ctypes.c_long(value))

    def fail(self, call: int, result: int) -> None:
        """Make the call of this number, counted from 0 since ``reset``, return a CUresult and do nothing.

        After a fatal result, such as 719 (CUDA_ERROR_LAUNCH_FAILED), all later calls return it too.
        """
        self.failing = True
        self._library.emulated_fail(ctypes.c_long(call), result)

    def fail_work(self, number: int, result: int) -> None:
        """Make the copy, kernel or host function of this number, counted from 0 from now on, fail on the GPU."""
        self.failing = True
        self._library.emulated_fail_work(ctypes.c_long(number), result)

    def calls(self) -> int:
        """Count the calls since ``reset``."""
        return int(self._library.emulated_calls())

    def called(self) -> list[str]:
        """List the functions called since ``reset``."""
        return [self._library.emulated_called(ctypes.c_long(number)).decode() for number in range(self.calls())]

    def leaks(self) -> dict[str, int]:
        """Count the objects that were created and not released, by kind."""
        left = {kind: self._library.emulated_left(kind.encode()) for kind in KINDS}
        assert min(left.values()) >= 0
        return {kind: number for kind, number in left.items() if number}

    def refused_releases(self) -> int:
        """Count the releasing calls that were made to fail."""
        return int(self._library.emulated_refused_releases())

    def freed_while_used(self) -> int:
        """Count how often memory was freed while work on it was pending, since this was last asked."""
        return int(self._library.emulated_freed_while_used())

    def entered(self) -> int:
        """Count the contexts that this thread has entered and not left."""
        return int(self._library.emulated_entered())

    def message(self) -> str:
        """Return why the last call was refused, or the last work failed."""
        return str(self._library.emulated_message().decode())


@contextmanager
def emulated_gpu() -> Iterator[Emulated]:
    """Make a machine with an emulated GPU; the test is skipped if its process has loaded the real driver."""
    emulated = use_emulated_driver()
    yield emulated
    emulated._library.emulated_wake(0)


def use_emulated_driver() -> Emulated:
    """Give this machine an emulated GPU from now on."""
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
