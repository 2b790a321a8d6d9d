"""Kernels built for a CPU: as a library that is launched from Python, or as a program under sanitizers.

What was built is kept in ``build/cuda_on_cpu`` by the hash of all that it was made of.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from ssd_edge.engines.kernels.launch import SOURCE, Launch
from ssd_edge.files import written_whole
from tests.helpers import COMPILER, ROOT

HERE = Path(__file__).parent
BUILD = ROOT / "build" / "cuda_on_cpu"

# No contraction to fused multiply-add, as on the GPU. The scheduler is never built with a sanitizer: it changes stacks.
COMMON = ("-std=c++17", "-O2", "-ffp-contract=off", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror")
KERNELS = (*COMMON, "-DCUDA_ON_CPU", f"-I{HERE}")
SANITIZERS = {
    # Shared memory lies in a section of its own, which ASan leaves alone unless told.
    "address": ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fsanitize-sections=cuda_shared"),
    "thread": ("-g", "-fsanitize=thread"),
}


class LaunchError(Exception):
    """A launch that ended early: the sentence of ``cuda_on_cpu_error``."""


class KernelLibrary:
    """Kernels that are launched as ``cuLaunchKernel`` does.

    Attributes:
        path: of the shared library; it exports ``NAME_on_cpu`` for each kernel, see cuda_on_cpu.h.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._library = ctypes.CDLL(str(path))
        self._library.cuda_on_cpu_error.restype = ctypes.c_char_p

    def launch(
        self,
        kernel: str,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: Sequence[np.ndarray | int],
        seed: int = 0,
    ) -> None:
        """Run a kernel to its end.

        Args:
            kernel: its name.
            grid: blocks.
            block: threads of a block.
            arguments: arrays, whose address is passed, and int32.
            seed: of the order of blocks and threads, and of what shared memory holds at first; 0 is the plain order.

        Raises:
            LaunchError: threads wait for others that never come, or nothing can be launched so.
        """
        held = [_argument(argument) for argument in arguments]
        pointers = (ctypes.c_void_p * len(held))(*map(ctypes.addressof, held))
        if self._library[f"{kernel}_on_cpu"](*grid, *block, pointers, ctypes.c_uint(seed)):
            raise LaunchError(self._library.cuda_on_cpu_error().decode())


def _argument(argument: np.ndarray | int) -> ctypes.c_void_p | ctypes.c_int32:
    if isinstance(argument, np.ndarray):
        assert argument.flags.c_contiguous, "a kernel is given an address: the array has to be contiguous"
        return ctypes.c_void_p(argument.ctypes.data)
    assert -(2**31) <= argument < 2**31, f"{argument} is no int32"
    return ctypes.c_int32(argument)


def kernel_library(source: Path = SOURCE) -> KernelLibrary:
    """The library of a CUDA C++ source that has ``EXPORT_KERNEL(NAME)`` for each kernel, without sanitizers."""
    kernels = _built("kernels.o", COMPILER, *KERNELS, "-x", "c++", "-c", source)
    return KernelLibrary(_built("kernels.so", COMPILER, "-shared", kernels, _scheduler(COMPILER)))


def program(sanitizer: str | None, source: Path = SOURCE, compiler: str = COMPILER) -> Path:
    """A program that runs the launches it reads, see drive.cpp; ``sanitizer`` is one of ``SANITIZERS``, or none."""
    flags = SANITIZERS[sanitizer] if sanitizer else ()
    kernels = _built("kernels.o", compiler, *KERNELS, *flags, "-x", "c++", "-c", source)
    driver = _built("drive.o", compiler, *COMMON, *flags, "-c", HERE / "drive.cpp")
    return _built("drive", compiler, *flags, "-rdynamic", kernels, driver, _scheduler(compiler), "-ldl")


def driver_library() -> Path:
    """The emulated driver, see emulated_driver/driver.h; its soname is that of the real one."""
    folder = HERE / "emulated_driver"
    header, sources = folder / "driver.h", sorted(folder.glob("*.cpp"))
    name = "-Wl,-soname,libcuda.so.1"
    return _built("libcuda.so.1", COMPILER, *COMMON, "-include", header, "-shared", name, *sources, "-ldl")


def drive(
    command: Sequence[str | Path],
    folder: Path,
    buffers: Mapping[str, np.ndarray],
    launches: Sequence[Launch],
    seed: int = 0,
) -> subprocess.CompletedProcess[str]:
    """Run launches in a process of their own; the buffers hold afterwards what it left in its own.

    Args:
        command: a ``program``, or what runs it and the program.
        folder: for the files between the processes.
        buffers: by the names in the launches.
        launches: one after the other.
        seed: as of ``KernelLibrary.launch``.
    """
    lines = []
    for name, array in buffers.items():
        array.tofile(folder / name)
        lines.append(f"buffer {name} {array.nbytes} {folder / name}")
    for launch in launches:
        arguments = [f"@{a}" if isinstance(a, str) else str(a) for a in launch.arguments]
        lines.append(" ".join(map(str, ("launch", launch.kernel, seed, *launch.grid, *launch.block, *arguments))))
    plan = "\n".join(lines) + "\n"
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}
    ran = _run_with(plan, environment, *map(str, command))
    if "unexpected memory mapping" in ran.stderr and (setarch := shutil.which("setarch")):
        # TSan of GCC 12 does not know the addresses that newer kernels hand out at random.
        ran = _run_with(plan, environment, setarch, "-R", *map(str, command))
    for name, array in buffers.items():
        array[...] = np.fromfile(folder / name, array.dtype).reshape(array.shape)
    return ran


def _run_with(plan: str, environment: Mapping[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=plan, capture_output=True, text=True, check=False, env=environment)


def _scheduler(compiler: str) -> Path:
    return _built("cuda_on_cpu.o", compiler, *COMMON, "-c", HERE / "cuda_on_cpu.cpp")


def _built(name: str, *command: str | Path) -> Path:
    """What a compiler's command makes, made once; its files are the command's paths and the header.

    The test that asked is skipped where nothing can be made.
    """
    if not sys.platform.startswith("linux") or shutil.which(str(command[0])) is None:
        pytest.skip(f"kernels are built for a CPU on Linux by {command[0]}, which is not here")
    digest = hashlib.sha256(_version(str(command[0])).encode())
    digest.update((HERE / "cuda_on_cpu.h").read_bytes())
    for word in command:
        digest.update(word.read_bytes() if isinstance(word, Path) else word.encode())
        digest.update(b"\0")
    path = BUILD / f"{digest.hexdigest()[:32]}.{name}"
    if not path.exists():
        with written_whole(path) as partial:
            subprocess.run([*map(str, command), "-o", str(partial)], check=True)
    return path


@cache
def _version(compiler: str) -> str:
    return subprocess.run([compiler, "--version"], check=True, capture_output=True, text=True).stdout
