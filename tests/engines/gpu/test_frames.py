"""Frames in the pool's memory: used where they lie, lent again when nobody has them, released with the engine."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from ssd_edge.detector import HostDetector
from ssd_edge.engines.cuda.device import Device
from ssd_edge.engines.gpu.engine import GpuDetector, GpuEngine
from ssd_edge.engines.gpu.frames import DeviceFrame
from ssd_edge.engines.onnxruntime import OnnxRuntimeEngine
from ssd_edge.pixels import COEFFICIENTS, FORMATS, Layout, RawFrame, packed, to_bgr_in_integers
from tests.cuda.emulated import Emulated
from tests.cuda.host_heads import HostHeads
from tests.engines.gpu.test_gpu import assert_equal, cubin, frames

SIZE = (60, 81)


@pytest.fixture(params=[0, 1], ids=["own memory", "shared memory"])
def engine(emulated: Emulated, cpu: OnnxRuntimeEngine, request: pytest.FixtureRequest) -> Iterator[GpuEngine]:
    emulated.machine(integrated=request.param)
    device = Device()
    engine = GpuEngine("emulated", HostHeads(cpu, device), device, cubin())
    yield engine
    engine.close()


def in_memory_of(detector: GpuDetector, image: np.ndarray) -> np.ndarray:
    """What a source does: it takes memory, and writes its frame there."""
    frame = detector.memory(image.size).reshape(image.shape)
    frame[...] = image
    return frame


def place(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_every_format_is_detected_in_as_on_the_cpu(engine: GpuEngine, cpu: OnnxRuntimeEngine, pixel_format) -> None:
    detector, host = engine.detector(), HostDetector(cpu)
    assert pixel_format in detector.reads
    rng = np.random.default_rng(0)
    for colour in COEFFICIENTS:
        tight = packed(pixel_format, SIZE, colour)
        layout = Layout(pixel_format, SIZE, tuple(5 + one for one in tight.offsets), tight.strides, colour)
        lent = detector.memory(layout.nbytes)
        lent[:] = rng.integers(0, 256, layout.nbytes, np.uint8)
        for memory in (lent, lent.copy()):
            frame = RawFrame(memory, layout)
            assert_equal(detector(frame), host(to_bgr_in_integers(frame)))


def test_a_frame_in_lent_memory_is_not_copied(
    engine: GpuEngine, cpu: OnnxRuntimeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector, (image,) = engine.detector(), frames(1, [SIZE])
    frame, wanted = in_memory_of(detector, image), HostDetector(cpu)(image)
    copies = []
    original = np.copyto
    monkeypatch.setattr(np, "copyto", lambda *given, **how: copies.append(original(*given, **how)))
    assert_equal(detector(frame), wanted)
    assert not copies
    assert_equal(detector(image), wanted)
    assert len(copies) == 1


def test_rows_that_do_not_follow_each_other_are_copied(engine: GpuEngine, cpu: OnnxRuntimeEngine) -> None:
    detector, (image,) = engine.detector(), frames(1, [(70, 90)])
    frame = in_memory_of(detector, image)
    for part in (frame[5:65, 4:80], frame[::-1], frame[:, ::-1], frame[..., ::-1]):
        assert_equal(detector(part), HostDetector(cpu)(part))


def test_memory_is_lent_again_once_nobody_has_it(engine: GpuEngine) -> None:
    detector = engine.detector()
    first = detector.memory(1000)
    where, part = place(first), first[10:20]
    second = detector.memory(1000)
    assert place(second) != where
    del first
    assert place(detector.memory(1000)) != where  # a view is left
    del part
    assert where in {place(one) for one in [detector.memory(1000) for _ in range(2)]}


def test_memory_is_not_lent_while_the_gpu_reads_it(engine: GpuEngine, cpu: OnnxRuntimeEngine) -> None:
    detector, images = engine.detector(), frames(2, [SIZE])
    frame = in_memory_of(detector, images[0])
    finish = detector.submit(frame)
    del frame
    other = in_memory_of(detector, images[1])  # would overwrite the first, if it had its memory
    assert_equal(finish().detections, HostDetector(cpu)(images[0]))
    assert_equal(detector(other), HostDetector(cpu)(images[1]))


def test_few_blocks_serve_many_frames(engine: GpuEngine, emulated: Emulated) -> None:
    detector = engine.detector()
    for image in frames(30, [SIZE]):
        detector(in_memory_of(detector, image))
    allocated = emulated.called().count("cuMemHostAlloc")
    for image in frames(30, [SIZE]):
        detector(in_memory_of(detector, image))
    assert emulated.called().count("cuMemHostAlloc") == allocated


def test_sizes_that_change_do_not_fill_the_memory(engine: GpuEngine, emulated: Emulated) -> None:
    detector = engine.detector()
    before = emulated.leaks()["pinned memory"]
    for power in range(40):
        detector.memory(1 << power % 20)
    assert emulated.leaks()["pinned memory"] <= before + 9


def test_another_threads_memory(engine: GpuEngine, cpu: OnnxRuntimeEngine) -> None:
    """A capture thread allocates, while the detector's own thread works and the garbage collector runs anywhere."""
    detector, images = engine.detector(), frames(40, [SIZE, (33, 200)])
    captured: list[np.ndarray] = []

    def capture() -> None:
        for image in images:
            captured.append(in_memory_of(detector, image))

    thread = threading.Thread(target=capture)
    thread.start()
    got = []
    while len(got) < len(images):
        if captured:
            got.append(detector(captured.pop(0)))
    thread.join()
    for actual, image in zip(got, images, strict=True):
        assert_equal(actual, HostDetector(cpu)(image))


@pytest.mark.parametrize("thread", [False, True])
def test_frames_outlive_the_engine(engine: GpuEngine, emulated: Emulated, thread: bool) -> None:
    detector = engine.detector()
    held = [detector.memory(1000), detector.memory(5000)]
    held[1][:] = 7
    engine.close()
    assert emulated.leaks() == {"contexts": 1, "pinned memory": 2}
    assert (held[1] == 7).all()
    assert detector.memory(10).size == 10  # ordinary
    held.pop(0)
    assert emulated.leaks() == {"contexts": 1, "pinned memory": 1}
    if thread:
        last = threading.Thread(target=held.clear)
        last.start()
        last.join()
    held.clear()
    gc.collect()
    assert emulated.leaks() == {}


def test_a_frame_on_the_device(engine: GpuEngine, cpu: OnnxRuntimeEngine) -> None:
    """Such as a camera's surface: it is read where it lies."""
    detector, (image,) = engine.detector(), frames(1, [SIZE])
    device = engine._pipeline.device
    with device.buffer(image.nbytes) as buffer, device.stream() as stream:
        stream.upload(buffer, image)
        stream.synchronize()
        frame = DeviceFrame(buffer.address, packed("BGR", SIZE))
        assert_equal(detector.submit(frame)().detections, HostDetector(cpu)(image))
