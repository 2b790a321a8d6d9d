"""The host code of CUDA, with both real libraries on an emulated GPU, see emulated_driver/driver.h; test_on_gpu.py
repeats it on a real one. The reference is the CUDA Driver API's documentation, and arithmetic done by hand.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import threading

import numpy as np
import pytest

from ssd_edge.engines.cuda.device import Device, open_driver
from ssd_edge.engines.cuda.driver import Argument, CudaError, Driver
from ssd_edge.engines.cuda.module import Module
from ssd_edge.engines.cuda.stream import Stream
from tests.cuda.emulated import Emulated
from tests.cuda.fixtures import host_kernels, use_pycuda


def bits(value: float) -> np.int32:
    return np.float32(value).view(np.int32)


def step(module: Module, stream: Stream, source: int, count: int, factor: float, term: float, target: int) -> None:
    """target = source * factor + term."""
    arguments: list[Argument] = [
        np.uint64(source),
        np.int32(count),
        bits(factor),
        bits(term),
        np.uint64(target),
    ]
    stream.launch(module.function("step"), (-(-count // 64), 1, 1), (64, 1, 1), arguments)


# Devices and drivers.


def test_a_device_says_what_it_is(device: Device) -> None:
    assert device.name
    assert device.compute_capability >= (5, 0)
    free, total = device.memory()
    assert 0 < free <= total
    assert device.driver.release() >= (11, 0)
    assert device.driver.device_count() >= 1


def test_the_emulated_one_is_described(emulated: Emulated, library: str) -> None:
    emulated.machine(devices=2, major=8, minor=7, release=12060, memory=1 << 20)
    driver = open_driver(library)
    with Device(1, driver) as device:
        assert (device.index, device.name, device.compute_capability) == (1, "Emulated GPU 1", (8, 7))
        assert driver.release() == (12, 6)
        with device.buffer(1 << 18):
            assert device.memory() == ((1 << 20) - (1 << 18), 1 << 20)
        assert device.memory() == (1 << 20, 1 << 20)


def test_cuda_bindings_come_before_pycuda(emulated: Emulated) -> None:
    pytest.importorskip("cuda.bindings")
    assert type(open_driver()).__name__ == "Bindings"


# Memory and copies.


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float16, np.float32])
@pytest.mark.parametrize("shape", [(1,), (3, 5, 7), (0, 4), (1000, 1000)])
def test_uploads_come_back_unchanged(device: Device, dtype: type, shape: tuple[int, ...]) -> None:
    wanted = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    with (
        device.buffer(wanted.nbytes) as buffer,
        device.pinned(shape, dtype) as up,
        device.pinned(shape, dtype) as down,
        device.stream() as stream,
    ):
        assert (up.array.shape, up.array.dtype, buffer.nbytes) == (shape, dtype, max(1, wanted.nbytes))
        up.array[...], down.array[...] = wanted, 0
        stream.upload(buffer, up.array)
        stream.download(down.array, buffer)
        stream.synchronize()
        np.testing.assert_array_equal(down.array, wanted)


def test_arrays_that_are_not_pinned(device: Device) -> None:
    """For arrays that are not pinned, the driver copies before the call returns, in both directions."""
    source, target = np.arange(1000, dtype=np.float32), np.zeros(1000, np.float32)
    with device.buffer(source.nbytes) as buffer, device.stream() as stream:
        stream.upload(buffer, source)
        source[:] = -1
        stream.download(target, buffer)
        stream.synchronize()
    np.testing.assert_array_equal(target, np.arange(1000))


def test_memory_is_aligned(device: Device) -> None:
    """For kernels that read 16 bytes at once; the driver promises 256."""
    with device.buffer(3) as first, device.buffer(5) as second:
        assert first.address % 256 == second.address % 256 == 0


@pytest.mark.parametrize("array", [np.zeros(9, np.uint8), np.zeros((4, 4), np.uint8)[:, :2]])
def test_copies_that_cannot_be(device: Device, array: np.ndarray) -> None:
    with device.buffer(8) as buffer, device.stream() as stream:
        with pytest.raises(ValueError, match=r"array of \d+ bytes \(contiguous: (True|False)\) and a buffer of 8"):
            stream.upload(buffer, array)
        with pytest.raises(ValueError, match="cannot copy"):
            stream.download(array, buffer)


def test_memory_that_the_gpu_shares(device: Device, module: Module) -> None:
    """The kernel reads and writes where the host does: nothing is copied. Any GPU can, not only an integrated one."""
    with (
        device.mapped((5,), np.float32) as source,
        device.mapped((5,), np.float32) as target,
        device.stream() as stream,
    ):
        source.array[:], target.array[:] = np.arange(5), -1
        step(module, stream, source.address, 5, 2.0, 1.0, target.address)
        stream.synchronize()
        np.testing.assert_array_equal(target.array, 2 * np.arange(5) + 1)
    assert source.array.size == target.array.size == 0
    source.close()


@pytest.mark.parametrize("integrated", [0, 1])
def test_whether_it_works_in_the_hosts_memory(emulated: Emulated, library: str, integrated: int) -> None:
    emulated.machine(integrated=integrated)
    with Device(driver=open_driver(library)) as device:
        assert device.integrated is bool(integrated)


def test_a_closed_array_shows_nothing(device: Device) -> None:
    with device.pinned((4,), np.float32) as pinned:
        pinned.array[:] = 1
    assert pinned.array.size == 0


def test_everything_is_closed_once(device: Device, module: Module) -> None:
    for resource in (device.buffer(1), device.pinned((1,), np.uint8), device.stream(), device.event()):
        resource.close()
        resource.close()
    module.close()
    module.close()


# Order.


def test_results_are_there_only_after_a_wait(emulated: Emulated, device: Device) -> None:
    """The emulated GPU does nothing before it is waited for, so that host code which does not wait always fails."""
    with device.buffer(4) as buffer, device.pinned((1,), np.int32) as pinned, device.stream() as stream:
        pinned.array[0] = 7
        stream.upload(buffer, pinned.array)
        stream.synchronize()
        pinned.array[0] = 0
        stream.download(pinned.array, buffer)
        assert pinned.array[0] == 0
        stream.synchronize()
        assert pinned.array[0] == 7


def test_work_on_a_stream_is_done_in_order(device: Device, module: Module) -> None:
    """((x · 2 + 1) · 3 + 1) · 5 + 1: in another order, or with one left out, another value."""
    with (
        device.buffer(400) as first,
        device.buffer(400) as second,
        device.pinned((100,), np.float32) as pinned,
        device.stream() as stream,
    ):
        pinned.array[:] = np.arange(100)
        stream.upload(first, pinned.array)
        step(module, stream, first.address, 100, 2, 1, second.address)
        step(module, stream, second.address, 100, 3, 1, first.address)
        step(module, stream, first.address, 100, 5, 1, second.address)
        stream.download(pinned.array, second)
        stream.synchronize()
        np.testing.assert_array_equal(pinned.array, ((np.arange(100) * 2 + 1) * 3 + 1) * 5 + 1)


def test_a_stream_waits_for_an_event_of_another(device: Device, module: Module) -> None:
    with (
        device.buffer(400) as buffer,
        device.pinned((100,), np.float32) as pinned,
        device.stream() as first,
        device.stream() as second,
        device.event() as prepared,
    ):
        pinned.array[:] = 1
        first.upload(buffer, pinned.array)
        step(module, first, buffer.address, 100, 3, 0, buffer.address)
        first.record(prepared)
        second.wait(prepared)
        step(module, second, buffer.address, 100, 1, 4, buffer.address)
        second.download(pinned.array, buffer)
        second.synchronize()
        assert set(pinned.array) == {7}
        first.synchronize()


def test_an_event_that_was_recorded_again_is_the_later_one(device: Device, module: Module) -> None:
    with device.buffer(4) as buffer, device.pinned((1,), np.float32) as pinned, device.stream() as stream:
        pinned.array[0] = 1
        stream.upload(buffer, pinned.array)
        with device.event() as event:
            stream.record(event)
            step(module, stream, buffer.address, 1, 5, 0, buffer.address)
            stream.download(pinned.array, buffer)
            stream.record(event)
            event.synchronize()
        assert pinned.array[0] == 5


def test_the_time_between_events(device: Device, module: Module) -> None:
    count = 1 << 16
    with (
        device.buffer(4 * count) as buffer,
        device.stream() as stream,
        device.event() as began,
        device.event() as middle,
        device.event() as ended,
    ):
        stream.record(began)
        for _ in range(3):
            step(module, stream, buffer.address, count, 0, 0, buffer.address)
        stream.record(middle)
        step(module, stream, buffer.address, count, 0, 0, buffer.address)
        stream.record(ended)
        ended.synchronize()
        parts = middle.milliseconds_since(began), ended.milliseconds_since(middle)
        assert min(parts) > 0
        assert ended.milliseconds_since(began) == pytest.approx(sum(parts), abs=0.01)
        assert began.milliseconds_since(ended) == -ended.milliseconds_since(began)


# Kernels.


@pytest.mark.parametrize("kind", ["cubin", "ptx"])
def test_a_kernel_gets_what_it_is_given(device: Device, kind: str) -> None:
    image = host_kernels(device.compute_capability, kind).rstrip(b"\0")  # PTX gets its end from Module
    with (
        device.module(image) as module,
        device.buffer(64) as source,
        device.buffer(64) as target,
        device.pinned((16,), np.int32) as pinned,
        device.stream() as stream,
    ):
        pinned.array[:] = range(100, 116)
        stream.upload(source, pinned.array)
        arguments: list[Argument] = [
            np.uint64(source.address + 12),
            np.int32(-5),
            bits(0.5),
            np.uint64(target.address + 4),
        ]
        stream.launch(module.function("report"), (3, 4, 5), (6, 7, 2), arguments)
        stream.download(pinned.array, target)
        stream.synchronize()
        assert list(pinned.array[1:10]) == [3, 4, 5, 6, 7, 2, -5, 0x3F000000, 103]


def test_a_kernel_that_is_not_there(device: Device, module: Module) -> None:
    assert module.function("step") == module.function("step")
    with pytest.raises(CudaError, match="looking for kernel absent failed: the driver answers CUDA_ERROR_NOT_FOUND"):
        module.function("absent")


# Graphs.


def test_a_graph_does_again_what_was_captured(device: Device, module: Module) -> None:
    """pycuda has none: ``capture`` gives None, and nothing was done."""
    with (
        device.buffer(400) as buffer,
        device.pinned((100,), np.float32) as up,
        device.pinned((100,), np.float32) as down,
        device.stream() as stream,
    ):

        def work() -> None:
            done.append(1)
            stream.upload(buffer, up.array)
            step(module, stream, buffer.address, 100, 2, 0, buffer.address)
            step(module, stream, buffer.address, 100, 1, 3, buffer.address)
            stream.download(down.array, buffer)

        done: list[int] = []
        down.array[:] = 0
        graph = stream.capture(work)
        stream.synchronize()
        assert not down.array.any()
        if graph is None:
            assert not device.driver.can_capture
            assert not done
            return
        with graph:
            for value in (1, 5, 9):
                up.array[:] = value
                graph.launch(stream)
                stream.synchronize()
                assert set(down.array) == {2 * value + 3}
            assert done == [1]


def test_a_capture_that_fails_is_over(device: Device) -> None:
    with device.buffer(4) as buffer, device.pinned((1,), np.int32) as pinned, device.stream() as stream:

        def work() -> None:
            stream.upload(buffer, pinned.array)
            raise ZeroDivisionError

        if device.driver.can_capture:
            with pytest.raises(ZeroDivisionError):
                stream.capture(work)
        stream.upload(buffer, pinned.array)
        stream.synchronize()


# Threads, contexts and streams of others.


def test_another_thread(device: Device, module: Module) -> None:
    """Another thread activates the device, and can then create, use and close everything."""
    results: list[float] = []

    def run() -> None:
        device.activate()
        with device.buffer(4) as buffer, device.pinned((1,), np.float32) as pinned, device.stream() as stream:
            pinned.array[0] = 4
            stream.upload(buffer, pinned.array)
            step(module, stream, buffer.address, 1, 2, 1, buffer.address)
            stream.download(pinned.array, buffer)
            stream.synchronize()
            results.append(float(pinned.array[0]))

    for _ in range(2):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert results == [9, 9]


def test_a_thread_without_the_device(device: Device) -> None:
    errors: list[str] = []

    def run() -> None:
        with pytest.raises(CudaError) as error:
            device.buffer(4)
        errors.append(error.value.name)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert errors == ["CUDA_ERROR_INVALID_CONTEXT"]


def test_a_thread_has_the_context_back_that_it_had(driver: Driver) -> None:
    before = driver.current_context()
    with Device(driver=driver):
        inside = driver.current_context()
        assert inside
        with Device(driver=driver):  # the GPU's primary context is one for all
            assert driver.current_context() == inside
        assert driver.current_context() == inside
    assert driver.current_context() == before


def test_a_device_that_is_closed_under_another_one(emulated: Emulated, library: str) -> None:
    emulated.machine(devices=2)
    driver = open_driver(library)
    first, second = Device(0, driver), Device(1, driver)
    inside = driver.current_context()
    first.close()
    assert driver.current_context() == inside
    second.close()


def test_an_adopted_context_is_left_as_it_is(driver: Driver) -> None:
    with Device(driver=driver) as owner:
        with Device(driver=driver, adopt=True) as device:
            assert (device.index, device.name) == (owner.index, owner.name)
            assert driver.current_context()
            device.buffer(4).close()
        assert driver.current_context()
        owner.buffer(4).close()


def test_no_context_to_adopt(driver: Driver) -> None:
    if driver.current_context():
        pytest.skip("this thread has one")
    with pytest.raises(CudaError, match="this thread has no CUDA context to adopt"):
        Device(driver=driver, adopt=True)


def test_an_adopted_stream_is_left_as_it_is(device: Device) -> None:
    with (
        device.stream() as owner,
        device.buffer(4) as buffer,
        device.pinned((1,), np.int32) as pinned,
    ):
        pinned.array[0] = 3
        for _ in range(2):
            with device.stream(owner.handle) as stream:
                assert stream.handle == owner.handle
                stream.upload(buffer, pinned.array)
        owner.synchronize()
        pinned.array[0] = 0
        owner.download(pinned.array, buffer)
        owner.synchronize()
        assert pinned.array[0] == 3


def test_objects_that_are_no_stream(device: Device) -> None:
    for wrong in ("stream", None.__class__, 1.5):
        with pytest.raises(TypeError, match="stream"):
            device.stream(wrong)


def test_a_stream_of_the_cuda_stream_protocol(gpu: None) -> None:
    """https://nvidia.github.io/cuda-python/cuda-core/latest/interoperability.html"""

    class Foreign:
        def __init__(self, handle: int) -> None:
            self._handle = handle

        def __cuda_stream__(self) -> tuple[int, int]:
            return 0, self._handle

    with Device() as device, device.stream() as owner, device.stream(Foreign(owner.handle)) as stream:
        assert stream.handle == owner.handle


@pytest.mark.slow
@pytest.mark.parametrize("library", ["cuda-bindings", "pycuda"])
def test_a_context_and_a_stream_of_pycuda(gpu: None, library: str) -> None:
    """A program may have made them already, by pycuda.autoinit or by itself."""
    use_pycuda()
    import pycuda.driver as pycuda

    pycuda.init()
    context = pycuda.Device(0).make_context()
    try:
        theirs = pycuda.Stream()
        with (
            Device(driver=open_driver(library), adopt=True) as device,
            device.module(host_kernels(device.compute_capability, "cubin")) as module,
            device.stream(theirs) as stream,
            device.buffer(4) as buffer,
            device.pinned((1,), np.float32) as pinned,
        ):
            assert stream.handle == theirs.handle
            pinned.array[0] = 4
            stream.upload(buffer, pinned.array)
            step(module, stream, buffer.address, 1, 2, 1, buffer.address)
            stream.download(pinned.array, buffer)
            theirs.synchronize()
            assert pinned.array[0] == 9
        assert pycuda.Context.get_current() == context
        theirs.synchronize()
        del theirs, stream, device
    finally:
        context.pop()
        gc.collect()
        context.detach()


def test_beside_a_context_of_pycuda(gpu: None, library: str) -> None:
    """pycuda's context stays current for pycuda, and the device has its own."""
    use_pycuda()
    import pycuda.driver as pycuda

    pycuda.init()
    context = pycuda.Device(0).make_context()
    try:
        with Device(driver=open_driver(library)) as device, device.buffer(4) as buffer, device.stream() as stream:
            assert device.driver.current_context() != context.handle
            stream.upload(buffer, np.zeros(1, np.float32))
            stream.synchronize()
        assert open_driver(library).current_context() == context.handle
        pycuda.mem_alloc(4).free()
    finally:
        context.pop()
        context.detach()


def test_pycuda_takes_no_stream_that_it_does_not_know(gpu: None) -> None:
    use_pycuda()
    with Device() as device, device.stream() as foreign, Device(driver=open_driver("pycuda")) as other:
        with pytest.raises(TypeError, match=r"must be a pycuda Stream or 0, .* use cuda-bindings"):
            other.stream(foreign.handle)
        with other.stream(0) as stream:
            stream.synchronize()


def test_neither_library_nor_driver_is_imported_before_it_is_asked_for() -> None:
    program = (
        "import sys, ssd_edge.engines.cuda.device, ssd_edge.engines.gpu.engine\n"
        "print(*{name.partition('.')[0] for name in sys.modules} & {'cuda', 'pycuda'})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
