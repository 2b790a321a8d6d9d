"""Build kernels for a CPU: as a library to launch from Python, or as a program to run under sanitizers.

Builds are kept in ``build/cuda_on_cpu``, by a hash of all their inputs.
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

from ssd_edge.engines.kernels.launch import SOURCE, Launch, headers_of
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
    """A launch ended early; the message is the sentence of ``cuda_on_cpu_error``."""


class KernelLibrary:
    """A library of kernels, launched as by ``cuLaunchKernel``.

    Attributes:
        path: path of the shared library; it exports ``NAME_on_cpu`` for each kernel, see cuda_on_cpu.h.
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
            kernel: the kernel's name.
            grid: number of blocks.
            block: number of threads in a block.
            arguments: arrays, passed by address, and int32 values.
            seed: random seed for the order of blocks and threads, and for the first content of shared memory; 0 is the
                plain order.

        Raises:
            LaunchError: threads wait for others that never come, or the launch is invalid.
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
    """Build the library of a CUDA C++ source, which has ``EXPORT_KERNEL(NAME)`` for each kernel, without sanitizers."""
    kernels = _built("kernels.o", COMPILER, *KERNELS, "-x", "c++", "-c", source)
    return KernelLibrary(_built("kernels.so", COMPILER, "-shared", kernels, _scheduler(COMPILER)))


def program(sanitizer: str | None, source: Path = SOURCE, compiler: str = COMPILER) -> Path:
    """Build a program that runs the launches it reads, see drive.cpp, with one of ``SANITIZERS`` or without."""
    flags = SANITIZERS[sanitizer] if sanitizer else ()
    kernels = _built("kernels.o", compiler, *KERNELS, *flags, "-x", "c++", "-c", source)
    driver = _built("drive.o", compiler, *COMMON, *flags, "-c", HERE / "drive.cpp")
    return _built("drive", compiler, *flags, "-rdynamic", kernels, driver, _scheduler(compiler), "-ldl")


def driver_library() -> Path:
    """Build the emulated driver, see emulated_driver/driver.h; its soname is that of the real one."""
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
    """Run launches in a process of their own, and copy its buffers back.

    Args:
        command: a ``program``, possibly with a command before it that runs it.
        folder: folder for the files exchanged with the process.
        buffers: buffers by their names in the launches.
        launches: launches to run, in this order.
        seed: random seed, see ``KernelLibrary.launch``.
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
    """Run a compiler's command once, keyed by its input files (the command's paths and the header).

    The calling test is skipped if there is no compiler.
    """
    if not sys.platform.startswith("linux") or shutil.which(str(command[0])) is None:
        pytest.skip(f"kernels are built for a CPU on Linux by {command[0]}, which is not here")
    digest = hashlib.sha256(_version(str(command[0])).encode())
    digest.update((HERE / "cuda_on_cpu.h").read_bytes())
    for word in command:
        files = [word, *headers_of(word)] if isinstance(word, Path) else []
        digest.update(b"".join(file.read_bytes() for file in files) or str(word).encode())
        digest.update(b"\0")
    path = BUILD / f"{digest.hexdigest()[:32]}.{name}"
    if not path.exists():
        with written_whole(path) as partial:
            subprocess.run([*map(str, command), "-o", str(partial)], check=True)
    return path


@cache
def _version(compiler: str) -> str:
    return subprocess.run([compiler, "--version"], check=True, capture_output=True, text=True).stdout
