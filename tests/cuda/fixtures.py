"""Fixtures of tests that need a GPU, real or emulated."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from ssd_edge.engines.cuda.device import Device, open_driver
from ssd_edge.engines.cuda.driver import Driver
from ssd_edge.engines.cuda.module import Module
from ssd_edge.engines.kernels.compiler import compile_kernels
from tests.cuda.build import HERE, kernel_library
from tests.cuda.emulated import Emulated, emulated_gpu

REAL_GPU = "SSD_EDGE_TESTS_ON_GPU"
"""Set in the process in which test_on_gpu.py repeats tests on the machine's own GPU: a process has one driver."""

HOST_KERNELS = HERE / "host_kernels.cu"


@pytest.fixture
def emulated() -> Iterator[Emulated]:
    """An emulated GPU. A test without planned failures must release everything, idle, and leave its context."""
    if REAL_GPU in os.environ:
        pytest.skip("asks the emulated driver")
    with emulated_gpu() as gpu:
        yield gpu
        if not gpu.failing:
            assert gpu.leaks() == {}, "not given back"
            assert gpu.entered() == 0, "contexts entered and not left"
            assert gpu.freed_while_used() == 0, "freed under work that uses it"


@pytest.fixture
def gpu(request: pytest.FixtureRequest) -> None:
    """The emulated GPU with the kernels of host_kernels.cu, or the machine's own, see ``REAL_GPU``."""
    if REAL_GPU not in os.environ:
        request.getfixturevalue("emulated").reset(kernel_library(HOST_KERNELS).path)


@pytest.fixture(params=["cuda-bindings", "pycuda"])
def library(request: pytest.FixtureRequest) -> str:
    """Name on PyPI of a library that wraps the driver."""
    if request.param == "pycuda":
        use_pycuda()
    else:
        pytest.importorskip("cuda.bindings")
    return str(request.param)


@pytest.fixture
def driver(gpu: None, library: str) -> Driver:
    """The driver through that library."""
    return open_driver(library)


@pytest.fixture
def device(driver: Driver) -> Iterator[Device]:
    """The GPU through that library."""
    with Device(driver=driver) as device:
        yield device


@pytest.fixture
def module(device: Device) -> Iterator[Module]:
    """The kernels of host_kernels.cu, loaded on the GPU."""
    with device.module(host_kernels(device.compute_capability, "cubin")) as module:
        yield module


@cache
def host_kernels(compute_capability: tuple[int, int], kind: str) -> bytes:
    """host_kernels.cu compiled; ``kind`` is cubin or ptx."""
    images = compile_kernels("sm_{}{}".format(*compute_capability), source=HOST_KERNELS).images
    return next(content for image, content in images.items() if image.kind == kind)


def said_in_a_process_of_its_own(library: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Open the driver that the process finds, with these environment variables; the error is printed."""
    program = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from ssd_edge.engines.cuda.device import CudaError, open_driver\n"
        "try:\n"
        f"    open_driver({library!r})\n"
        "except CudaError as error:\n"
        "    print(error)\n"
    )
    command, environment = [sys.executable, "-c", program], {**os.environ, **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


def use_pycuda() -> None:
    """Import pycuda from the folder where ``make test`` builds it; the test is skipped if it is not there."""
    folder = Path(sys.prefix) / "pycuda"
    if folder.is_dir() and str(folder) not in sys.path:
        sys.path.append(str(folder))
    if importlib.util.find_spec("pycuda") is None:
        pytest.skip("pycuda is not built: make test does it where a CUDA toolkit is, see tests/cuda/install_pycuda.py")
