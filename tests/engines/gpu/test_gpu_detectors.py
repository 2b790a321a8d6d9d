"""Networks that carry their decode, GPUs that share the host's memory, and several detectors of one engine."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import numpy as np
import pytest

from ssd_edge.detections import Detections
from ssd_edge.detector import Detector, HostDetector
from ssd_edge.engines.cuda.device import Device
from ssd_edge.engines.gpu.engine import GpuEngine
from ssd_edge.engines.onnxruntime import OnnxRuntimeEngine
from ssd_edge.errors import BackendError, NoHeadsError
from tests.cuda.emulated import Emulated
from tests.cuda.host_heads import HostContext, HostDetections, HostHeads, HostNetwork
from tests.engines.gpu.failing import each_call_fails_cleanly
from tests.engines.gpu.test_gpu import assert_equal, cubin, frames

Network = Callable[..., HostNetwork]


def open_gpu(cpu: OnnxRuntimeEngine, network: Network, half: bool = False) -> GpuEngine:
    device = Device()
    return GpuEngine("emulated", network(cpu, device, half), device, cubin())


def detected(detector: Detector, images: list[np.ndarray]) -> list[Detections]:
    """Detect in each frame, with as many under way as the detector allows."""
    detections, waiting = [], deque()
    for image in images:
        waiting.append(detector.submit(image))
        if len(waiting) == detector.depth:
            detections.append(waiting.popleft()().detections)
    return detections + [finish().detections for finish in waiting]


# Decode inside the network, and memory that host and GPU share.


@pytest.mark.parametrize("integrated", [0, 1])
def test_detections_are_the_hosts_to_the_last_bit(
    emulated: Emulated, cpu: OnnxRuntimeEngine, network: Network, integrated: int
) -> None:
    """Reference: preprocess and decode on the host. Frames of sizes that change, two under way."""
    emulated.machine(integrated=integrated)
    engine, images = open_gpu(cpu, network), frames(7, [(60, 80), (60, 80), (33, 200)])
    wanted = [HostDetector(cpu)(image) for image in images]
    assert sum(map(len, wanted)) > 50
    for actual, right in zip(detected(engine.detector(), images), wanted, strict=True):
        assert_equal(actual, right)
    engine.close()


@pytest.mark.slow
@pytest.mark.parametrize("min_score", [0.3, 0.36, 1.0])
def test_a_reader_of_high_scores_gets_those_alone(
    emulated: Emulated, cpu: OnnxRuntimeEngine, network, min_score
) -> None:
    """They equal the high-scoring part of all detections, to the last bit; after heads, only they are decoded."""
    engine, images = open_gpu(cpu, network), frames(3, [(60, 80)])
    wanted = [HostDetector(cpu)(image).above(min_score) for image in images]
    for actual, right in zip(detected(engine.detector(min_score), images), wanted, strict=True):
        np.testing.assert_array_equal(actual.boxes, right.boxes)
        np.testing.assert_array_equal(actual.scores, right.scores)
        np.testing.assert_array_equal(actual.labels, right.labels)
    # A second one, for all scores, is not bound by the first one's limit.
    for actual, image in zip(detected(engine.detector(), images), images, strict=True):
        assert_equal(actual, HostDetector(cpu)(image))
    engine.close()


def test_an_image_in_half_is_all_that_is_rounded(emulated: Emulated, cpu: OnnxRuntimeEngine) -> None:
    engine, (image,) = open_gpu(cpu, HostDetections, half=True), frames(1, [(60, 80)])

    class Rounded:
        spec, depth = cpu.spec, 1

        def submit(self, images):
            return cpu.submit(images.astype(np.float16).astype(np.float32))

    wanted = HostDetector(Rounded())(image)
    assert_equal(engine.detector()(image), wanted)
    assert not np.array_equal(wanted.scores, HostDetector(cpu)(image).scores)
    engine.close()


@pytest.mark.parametrize(("kind", "launches"), [(HostHeads, 1 + 2 * 2 * 3), (HostDetections, 1)])
def test_only_what_is_left_of_decode_is_launched(emulated: Emulated, cpu: OnnxRuntimeEngine, kind, launches) -> None:
    """Preprocess of the frame; and decode, select and merge, twice for the graph of each slot."""
    engine = open_gpu(cpu, kind)
    engine.detector()(frames(1, [(60, 80)])[0])
    assert emulated.called().count("cuLaunchKernel") == launches
    engine.close()


def test_a_network_that_decodes_gives_no_heads(emulated: Emulated, cpu: OnnxRuntimeEngine) -> None:
    engine = open_gpu(cpu, HostDetections)
    with pytest.raises(NoHeadsError, match=r"^this emulated plan carries its decode, .* --decode host-launch [^\n]*$"):
        engine.submit(np.zeros((1, 3, *cpu.spec.input_size), np.float32))
    engine.close()


@pytest.mark.parametrize("kind", [HostHeads, HostDetections])
@pytest.mark.parametrize("integrated", [0, 1])
def test_copies(emulated: Emulated, cpu: OnnxRuntimeEngine, kind: Network, integrated: int) -> None:
    """Only the frame is uploaded, once a layout its tables, and only results are downloaded.

    Results are downloaded at the slot's warm-up and at the graph's capture, if there is decode to capture, otherwise
    with each frame. The network, which runs on the CPU, also downloads its image at both times.
    """
    up = 1 - integrated
    at_start, with_frame = (2 * up, 0) if kind is HostHeads else (0, up)
    emulated.machine(integrated=integrated)
    engine = open_gpu(cpu, kind)
    detector, slots = engine.detector(), 2
    assert emulated.called().count("cuMemcpyDtoHAsync") == slots * (at_start + 2)
    before = emulated.called().count("cuMemcpyHtoDAsync")
    detector(frames(1, [(60, 80)])[0])
    assert emulated.called().count("cuMemcpyHtoDAsync") == before + up + 1
    for _ in range(3):
        detector(frames(1, [(60, 80)])[0])
    assert emulated.called().count("cuMemcpyHtoDAsync") == before + 4 * up + slots
    assert emulated.called().count("cuMemcpyDtoHAsync") == slots * (at_start + 2) + 4 * with_frame
    engine.close()


@pytest.mark.slow
def test_each_failing_call_where_memory_is_shared(emulated: Emulated, cpu: OnnxRuntimeEngine, network: Network) -> None:
    def scenario() -> None:
        engine = open_gpu(cpu, network)
        try:
            with engine.detector() as detector:
                detector(frames(1, [(60, 80)])[0])
        finally:
            engine.close()

    def reset() -> None:
        emulated.reset()
        emulated.machine(integrated=1)

    each_call_fails_cleanly(emulated, scenario, reset)


# Graphs.


class Uncapturable(HostHeads):
    """Refuses to be captured, like a library whose work waits for something; its first run comes before the capture."""

    def context(self, batch: int = 1, memory: int = 0) -> HostContext:
        made = super().context(batch, memory)
        enqueue, calls = made.enqueue, []

        def refuse_the_second(stream: int) -> None:
            calls.append(stream)
            if len(calls) == 2:
                raise BackendError("not while a graph is captured")
            enqueue(stream)

        made.enqueue = refuse_the_second
        return made


def test_work_that_cannot_be_captured_runs_without_a_graph(emulated: Emulated, cpu: OnnxRuntimeEngine) -> None:
    """The rest of the work, decode, still runs as graphs."""
    engine, images = open_gpu(cpu, Uncapturable), frames(3, [(60, 80)])
    assert emulated.leaks()["executable graphs"] == 2
    assert engine.graph == "no, for 2 of 4 pieces of work: not while a graph is captured"
    for image, actual in zip(images, detected(engine.detector(), images), strict=True):
        assert_equal(actual, HostDetector(cpu)(image))
    engine.close()


def test_a_capture_that_the_driver_finds_invalid(emulated: Emulated, cpu: OnnxRuntimeEngine) -> None:
    """A library may have made a call that cannot be captured, without reporting it."""
    open_gpu(cpu, HostHeads).close()
    number = emulated.called().index("cuStreamEndCapture")
    emulated.reset()
    emulated.fail(number, 901)  # CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
    engine, (image,) = open_gpu(cpu, HostHeads), frames(1, [(60, 80)])
    assert emulated.leaks()["executable graphs"] == 3
    assert engine.graph.startswith("no, for 1 of 4 pieces of work: ")
    assert engine.graph.endswith("the driver answers CUDA_ERROR_STREAM_CAPTURE_INVALIDATED")
    assert_equal(engine.detector()(image), HostDetector(cpu)(image))
    engine.close()
    assert emulated.leaks() == {}


@pytest.mark.parametrize(("kind", "graphs"), [(HostHeads, 4), (HostDetections, 2)])
def test_a_plan_that_decodes_leaves_nothing_to_capture(
    emulated: Emulated, cpu: OnnxRuntimeEngine, kind: Network, graphs: int
) -> None:
    """Each slot has a graph of its network and, if kernels decode, of decode; none of a copy or of nothing."""
    emulated.machine(integrated=1)
    engine = open_gpu(cpu, kind)
    assert emulated.leaks()["executable graphs"] == graphs
    assert engine.graph == "yes"
    engine.close()
    assert engine.graph == "yes"


class Refused(HostHeads):
    """Says before the capture that it cannot be captured."""

    def context(self, batch: int = 1, memory: int = 0) -> HostContext:
        made = super().context(batch, memory)
        made.why_no_graph = lambda stream: f"not on {'a stream' if stream else 'none'}"
        return made


def test_no_capture_is_tried_where_the_library_says_no(emulated: Emulated, cpu: OnnxRuntimeEngine) -> None:
    engine, (image,) = open_gpu(cpu, Refused), frames(1, [(60, 80)])
    assert emulated.called().count("cuStreamBeginCapture") == 2  # decode's
    assert engine.graph == "no, for 2 of 4 pieces of work: not on a stream"
    assert_equal(engine.detector()(image), HostDetector(cpu)(image))
    engine.submit(np.zeros((1, 3, *cpu.spec.input_size), np.float32))()
    assert engine.graph == "no, for 4 of 6 pieces of work: not on a stream"
    engine.close()


# Several detectors.


@pytest.mark.slow
@pytest.mark.parametrize("integrated", [0, 1])
def test_detectors_in_threads_of_their_own(
    emulated: Emulated, cpu: OnnxRuntimeEngine, network: Network, integrated: int
) -> None:
    """Reference: each camera's frames on the host; the engine's threads may call the driver at the same time."""
    emulated.machine(integrated=integrated)
    engine, cameras = open_gpu(cpu, network), 3
    images = [frames(8, [(60, 80), (20 + 10 * camera, 90)]) for camera in range(cameras)]
    for camera in range(cameras):
        for image in images[camera]:
            image[:] = np.roll(image, 7 * camera, axis=1)
    wanted = [[HostDetector(cpu)(image) for image in of_one] for of_one in images]
    detections: dict[int, list[Detections]] = {}
    start = threading.Barrier(cameras)

    def work(camera: int) -> None:
        start.wait()
        with engine.detector() as detector:
            detections[camera] = detected(detector, images[camera])

    threads = [threading.Thread(target=work, args=(camera,)) for camera in range(cameras)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for camera in range(cameras):
        for one, right in zip(detections[camera], wanted[camera], strict=True):
            assert_equal(one, right)
    engine.close()


def test_results_of_one_detector_stay_while_another_works(
    emulated: Emulated, cpu: OnnxRuntimeEngine, network: Network
) -> None:
    engine, images = open_gpu(cpu, network), frames(6, [(60, 80)])
    first, second = engine.detector(), engine.detector()
    finish = first.submit(images[0])
    detected(second, images[1:])
    assert_equal(finish().detections, HostDetector(cpu)(images[0]))
    engine.close()


def test_a_closed_detector_gives_its_memory_back(emulated: Emulated, cpu: OnnxRuntimeEngine, network: Network) -> None:
    engine, (image,) = open_gpu(cpu, network), frames(1, [(60, 80)])
    with engine.detector() as detector:
        detector(image)
    rest = emulated.leaks()
    for _ in range(3):
        with engine.detector() as detector:
            detector(image)
            assert emulated.leaks() != rest
        assert emulated.leaks() == rest
    detector.close()  # a second time does nothing
    assert not emulated.freed_while_used()
    engine.close()
    assert emulated.leaks() == {}


def test_frames_under_way_are_waited_for(emulated: Emulated, cpu: OnnxRuntimeEngine, network: Network) -> None:
    engine, images = open_gpu(cpu, network), frames(2, [(60, 80)])
    first, second = engine.detector(), engine.detector()
    finish = [detector.submit(image) for detector, image in zip((first, second), images, strict=True)]
    first.close()
    assert not emulated.freed_while_used()
    with pytest.raises(BackendError, match="the detector was closed before its result was asked for"):
        finish[0]()
    with pytest.raises(BackendError, match="this detector is closed"):
        first.submit(images[0])
    assert_equal(finish[1]().detections, HostDetector(cpu)(images[1]))
    second.submit(images[0])
    engine.close()
    assert emulated.leaks() == {}
    with pytest.raises(BackendError, match="closed"):
        second.submit(images[0])


def test_releases_wait_for_the_work(emulated: Emulated, cpu: OnnxRuntimeEngine, network: Network) -> None:
    """A GPU continues the work of a destroyed stream, and so may use memory that was freed."""
    engine, (image,) = open_gpu(cpu, network), frames(1, [(60, 80)])
    detector = engine.detector()
    for _ in range(detector.depth):
        detector.submit(image)
    before = emulated.calls()
    detector.close()
    called = emulated.called()[before:]
    streams = [name for name in called if name in {"cuStreamSynchronize", "cuStreamDestroy"}]
    assert streams == ["cuStreamSynchronize", "cuStreamDestroy"] * detector.depth
    engine.close()


def test_no_memory_for_a_further_detector(emulated: Emulated, cpu: OnnxRuntimeEngine, network: Network) -> None:
    """The existing detector still works."""
    engine, (image,) = open_gpu(cpu, network), frames(1, [(60, 80)])
    detector = engine.detector()
    wanted = detector(image)
    detector(image)  # each slot has its memory for the frame now
    rest = emulated.leaks()
    emulated.machine(memory=1 << 14)
    with pytest.raises(BackendError, match="out of memory"):
        engine.detector()
    assert emulated.leaks() == rest
    assert_equal(detector(image), wanted)
    engine.close()
