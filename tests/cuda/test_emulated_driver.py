"""The emulated driver detects faults of host code: each one is planted here, through cuda-bindings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path

import numpy as np
import pytest
from cuda.bindings import driver as cuda

from ssd_edge.engines.cuda.device import Device, open_driver
from ssd_edge.engines.cuda.driver import CudaError
from ssd_edge.engines.cuda.memory import DeviceBuffer, PinnedArray
from ssd_edge.engines.cuda.module import Module
from ssd_edge.engines.cuda.stream import Stream
from ssd_edge.engines.kernels.compiler import compile_kernels
from tests.cuda.build import kernel_library
from tests.cuda.emulated import Emulated
from tests.cuda.fixtures import HOST_KERNELS, host_kernels, use_pycuda
from tests.engines.cuda.test_cuda import step

R = cuda.CUresult


class Parts:
    """Objects that most of the faults need."""

    def __init__(self, stack: ExitStack) -> None:
        self.device: Device = stack.enter_context(Device())
        self.module: Module = stack.enter_context(self.device.module(host_kernels((8, 6), "cubin")))
        self.buffer: DeviceBuffer = stack.enter_context(self.device.buffer(400))
        self.pinned: PinnedArray = stack.enter_context(self.device.pinned((100,), np.float32))
        self.stream: Stream = stack.enter_context(self.device.stream())


@pytest.fixture
def parts(emulated: Emulated) -> Iterator[Parts]:
    emulated.reset(kernel_library(HOST_KERNELS).path)
    with ExitStack() as stack:
        yield Parts(stack)
        with suppress(CudaError) if emulated.failing else nullcontext():  # where the context is lost
            stack.close()


# Order.


def test_a_missing_wait_for_a_download(parts: Parts) -> None:
    parts.pinned.array[:] = 1
    parts.stream.upload(parts.buffer, parts.pinned.array)
    parts.stream.synchronize()
    parts.pinned.array[:] = 0
    parts.stream.download(parts.pinned.array, parts.buffer)
    assert set(parts.pinned.array) == {0}  # not there yet
    parts.stream.synchronize()


def test_pinned_memory_that_is_changed_before_it_was_copied(parts: Parts) -> None:
    parts.pinned.array[:] = 1
    parts.stream.upload(parts.buffer, parts.pinned.array)
    parts.pinned.array[:] = 2
    parts.stream.synchronize()
    parts.stream.download(parts.pinned.array, parts.buffer)
    parts.stream.synchronize()
    assert set(parts.pinned.array) == {2}


def test_a_missing_wait_for_another_stream(parts: Parts) -> None:
    parts.pinned.array[:] = 1
    with parts.device.stream() as other:
        parts.stream.upload(parts.buffer, parts.pinned.array)
        step(parts.module, other, parts.buffer.address, 100, 1, 0, parts.buffer.address)
        other.download(parts.pinned.array, parts.buffer)
        other.synchronize()
        assert 1 not in parts.pinned.array
        parts.stream.synchronize()


def test_memory_that_nobody_wrote_holds_rubbish(parts: Parts) -> None:
    parts.stream.download(parts.pinned.array, parts.buffer)
    parts.stream.synchronize()
    assert (parts.pinned.array.view(np.uint8) == 0xCD).all()


def test_the_time_of_an_event_that_has_not_happened(parts: Parts) -> None:
    with parts.device.event() as first, parts.device.event() as second:
        for event in (first, second):
            parts.stream.record(event)
        with pytest.raises(CudaError, match="CUDA_ERROR_NOT_READY"):
            second.milliseconds_since(first)


# Memory.


def test_memory_freed_while_it_is_used(emulated: Emulated, parts: Parts) -> None:
    with parts.device.buffer(4) as buffer:
        parts.stream.upload(buffer, parts.pinned.array[:1])
    assert emulated.freed_while_used() == 1
    with pytest.raises(CudaError) as error:
        parts.stream.synchronize()
    assert error.value.name == "CUDA_ERROR_ILLEGAL_ADDRESS"
    emulated.failing = True  # the context is lost


@pytest.mark.parametrize(
    "call",
    [
        lambda p: cuda.cuMemcpyHtoDAsync(p.pinned.array.ctypes.data, p.pinned.array.ctypes.data, 4, p.stream.handle),
        lambda p: cuda.cuMemcpyHtoDAsync(p.buffer.address + 398, p.pinned.array.ctypes.data, 4, p.stream.handle),
        lambda p: cuda.cuMemcpyDtoHAsync(p.pinned.array.ctypes.data, p.buffer.address - 4, 4, p.stream.handle),
        lambda p: cuda.cuMemFree(p.buffer.address + 1),
        lambda p: cuda.cuMemFree(p.pinned.array.ctypes.data),
        lambda p: cuda.cuMemAlloc(0),
    ],
    ids=["host-for-device", "beyond", "before", "free-inside", "free-host", "nothing"],
)
def test_wrong_addresses(parts: Parts, call: Callable[[Parts], tuple[R]]) -> None:
    assert call(parts)[0] == R.CUDA_ERROR_INVALID_VALUE


def test_memory_is_freed_once(parts: Parts) -> None:
    (_, address) = cuda.cuMemAlloc(4)
    assert cuda.cuMemFree(address) == (R.CUDA_SUCCESS,)
    assert cuda.cuMemFree(address) == (R.CUDA_ERROR_INVALID_VALUE,)


@pytest.mark.slow
def test_the_cpu_cannot_read_device_memory(emulated: Emulated) -> None:
    program = (
        "import ctypes\n"
        "from tests.cuda.emulated import use_emulated_driver\n"
        "use_emulated_driver()\n"
        "from ssd_edge.engines.cuda.device import Device\n"
        "ctypes.string_at(Device().buffer(4).address, 4)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode < 0


# Launches.


LAUNCH = ((2, 1, 1), (64, 1, 1))


@pytest.mark.parametrize(
    ("grid", "block"),
    [
        ((0, 1, 1), (64, 1, 1)),
        ((1, 65536, 1), (64, 1, 1)),
        ((1, 1, 1), (65, 1, 1)),  # more than its __launch_bounds__
        ((1, 1, 1), (1, 1, 0)),
    ],
)
def test_grids_and_blocks_that_no_gpu_has(
    parts: Parts, grid: tuple[int, int, int], block: tuple[int, int, int]
) -> None:
    function = parts.module.function("step")
    arguments = [
        np.uint64(parts.buffer.address),
        np.int32(0),
        np.int32(0),
        np.int32(0),
        np.uint64(parts.buffer.address),
    ]
    with pytest.raises(CudaError, match="launching a kernel failed: the driver answers CUDA_ERROR_INVALID_VALUE"):
        parts.stream.launch(function, grid, block, arguments)


def test_an_argument_too_few(emulated: Emulated, parts: Parts) -> None:
    """pycuda passes the number of arguments; cuda-bindings does not, and any driver reads on past the last one."""
    use_pycuda()
    with (
        Device(driver=open_driver("pycuda")) as device,
        device.module(host_kernels((8, 6), "cubin")) as module,
        device.stream() as stream,
        pytest.raises(CudaError, match="CUDA_ERROR_INVALID_VALUE"),
    ):
        stream.launch(module.function("step"), *LAUNCH, [np.uint64(0), np.int32(0), np.int32(0), np.int32(0)])
    assert emulated.message() == "step: the arguments are not those that it takes"


@pytest.mark.parametrize("address", [0, 4096, "pinned", "freed"])
def test_an_address_that_is_none_of_the_gpu(emulated: Emulated, parts: Parts, address: int | str) -> None:
    with parts.device.buffer(4) as freed:
        pass
    wrong = {"pinned": parts.pinned.array.ctypes.data, "freed": freed.address}.get(str(address), address)
    step(parts.module, parts.stream, int(wrong), 1, 1, 0, parts.buffer.address)
    emulated.failing = True  # the context is lost
    with pytest.raises(CudaError) as error:
        parts.stream.synchronize()
    assert error.value.name == "CUDA_ERROR_ILLEGAL_ADDRESS"
    assert emulated.message() == "step: argument 0 is no device memory"


# Handles.


def test_a_handle_that_was_given_back(parts: Parts) -> None:
    with parts.device.stream() as stream:
        handle = stream.handle
    assert cuda.cuStreamSynchronize(handle) == (R.CUDA_ERROR_INVALID_HANDLE,)
    assert cuda.cuStreamDestroy(handle) == (R.CUDA_ERROR_INVALID_HANDLE,)
    assert cuda.cuEventDestroy(handle) == (R.CUDA_ERROR_INVALID_HANDLE,)
    assert cuda.cuModuleUnload(handle) == (R.CUDA_ERROR_INVALID_HANDLE,)


def test_a_handle_of_another_context(emulated: Emulated) -> None:
    emulated.machine(devices=2)
    with Device(0) as first, first.stream() as stream, Device(1):
        assert cuda.cuStreamSynchronize(stream.handle) == (R.CUDA_ERROR_INVALID_HANDLE,)
        first.activate()
        assert cuda.cuStreamSynchronize(stream.handle) == (R.CUDA_SUCCESS,)


def test_leaks_are_counted(emulated: Emulated) -> None:
    device = Device()
    kept = [device.buffer(4), device.buffer(4), device.pinned((1,), np.uint8), device.stream(), device.event()]
    with device.stream() as stream:
        graph = stream.capture(lambda: None)
    assert emulated.leaks() == {
        "contexts": 1,
        "device memory": 2,
        "pinned memory": 1,
        "streams": 1,
        "events": 1,
        "executable graphs": 1,
    }
    assert emulated.entered() == 1
    assert graph is not None
    for resource in (graph, *kept, device):
        resource.close()


# Captures.


def test_calls_that_invalidate_a_capture(parts: Parts) -> None:
    """Calls that the documentation calls unsafe; they invalidate the capture."""
    for work in (
        lambda: parts.device.buffer(4),
        lambda: parts.device.pinned((1,), np.uint8),
        lambda: parts.stream.synchronize(),
        lambda: parts.stream.upload(parts.buffer, np.zeros(4, np.uint8)),
    ):
        with pytest.raises(CudaError) as error:
            parts.stream.capture(work)
        assert error.value.name == "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"
        parts.stream.synchronize()


def test_a_spoilt_capture_gives_no_graph(parts: Parts) -> None:
    def work() -> None:
        cuda.cuMemAlloc(4)

    with pytest.raises(CudaError) as error:
        parts.stream.capture(work)
    assert error.value.name == "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"


# Images. Their compiler is NVIDIA's.


@pytest.mark.parametrize("kind", ["cubin", "ptx"])
@pytest.mark.parametrize(("device", "loads"), [((8, 6), True), ((8, 9), True), ((8, 0), False), ((9, 0), None)])
def test_which_gpu_takes_an_image(emulated: Emulated, kind: str, device: tuple[int, int], loads: bool | None) -> None:
    """A cubin runs on its compute capability and later ones of the same major; PTX on all later ones.

    https://docs.nvidia.com/cuda/cuda-c-programming-guide/#binary-compatibility
    """
    emulated.reset(kernel_library(HOST_KERNELS).path)
    emulated.machine(major=device[0], minor=device[1])
    loads = kind == "ptx" if loads is None else loads
    with Device() as opened:
        if loads:
            opened.module(host_kernels((8, 6), kind)).close()
        else:
            with pytest.raises(CudaError):
                opened.module(host_kernels((8, 6), kind))


@pytest.mark.slow
def test_an_image_of_an_older_compiler(emulated: Emulated) -> None:
    """CUDA 13 writes the architecture into another field of a cubin than earlier releases."""
    toolchain = Path(sys.prefix) / "cuda-12.6"
    if not toolchain.is_dir():
        pytest.skip("CUDA 12.6 is not installed, see the Makefile")
    emulated.machine(major=8, minor=7, release=12060)
    for content in compile_kernels("sm_87", toolchain).images.values():
        with Device() as device, device.module(content) as module:
            module.function("ssd_merge")
    emulated.machine(major=8, minor=6)
    for content in compile_kernels("sm_87", toolchain).images.values():
        with Device() as device, pytest.raises(CudaError) as error:
            device.module(content)
        assert error.value.name == "CUDA_ERROR_NO_BINARY_FOR_GPU"


@pytest.mark.parametrize(
    ("ptx", "release", "loads"),
    [("7.8", 11080, True), ("7.8", 11070, False), ("8.5", 12050, True), ("8.7", 12080, True), ("8.7", 12060, False)],
)
def test_which_release_takes_ptx(emulated: Emulated, ptx: str, release: int, loads: bool) -> None:
    """https://docs.nvidia.com/cuda/parallel-thread-execution/#release-notes: PTX 7.8 is of CUDA 11.8, 8.7 of 12.8."""
    emulated.machine(release=release)
    image = f".version {ptx}\n.target sm_80\n.address_size 64\n".encode()
    with Device() as device:
        if loads:
            device.module(image).close()
        else:
            with pytest.raises(CudaError, match=rf"they are PTX {ptx} for sm_80"):
                device.module(image)
