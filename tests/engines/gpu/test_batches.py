"""Batches on the GPU: frames of any sizes in one run of the network, each with the result that it has alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
import pytest

from ssd_edge.detections import Detections
from ssd_edge.detector import Detector, HostDetector
from ssd_edge.engines.cuda.device import Device
from ssd_edge.engines.gpu.engine import GpuDetector, GpuEngine
from ssd_edge.engines.gpu.slots import FrameSlot
from ssd_edge.engines.onnxruntime import OnnxRuntimeEngine
from ssd_edge.errors import BackendError
from ssd_edge.loop.camera import Camera
from ssd_edge.loop.run import CameraLoop
from ssd_edge.pixels import Pixels, RawFrame, packed
from ssd_edge.stream.buffers import EVERY
from tests.cameras import Kept, Ticking
from tests.cuda.emulated import Emulated
from tests.cuda.host_heads import HostContext, HostDetections, HostHeads, HostNetwork
from tests.engines.gpu.failing import each_call_fails_cleanly
from tests.engines.gpu.test_gpu import assert_equal, cubin, frames

MOST = 3

Network = Callable[..., HostNetwork]


def open_gpu(cpu: OnnxRuntimeEngine, network: Network, max_batch: int = MOST, half: bool = False) -> GpuEngine:
    device = Device()
    return GpuEngine("emulated", network(cpu, device, half, max_batch), device, cubin())


def mixed(detector: GpuDetector) -> list[Pixels]:
    """Frames of several sizes and layouts, in ordinary memory and in the detector's own; each has its own pixels."""
    rng = np.random.default_rng(3)
    made: list[Pixels] = [rng.integers(0, 256, (60, 80, 3), np.uint8), rng.integers(0, 256, (33, 200, 3), np.uint8)]
    for name, size in (("NV12", (48, 64)), ("YUYV", (120, 90)), ("GRAY8", (31, 47)), ("NV12", (64, 48))):
        layout = packed(name, size)
        memory = detector.memory(layout.nbytes)[: layout.nbytes]
        memory[:] = rng.integers(0, 256, layout.nbytes, np.uint8)
        made.append(RawFrame(memory, layout))
    return made


def in_batches(detector: Detector, images: Sequence[Pixels], sizes: Sequence[int]) -> list[Detections]:
    """Detect in each image, in batches of these sizes, with as many under way as the detector allows."""
    assert len(images) == sum(sizes)
    rest, waiting, done = deque(images), deque(), []
    for size in sizes:
        if len(waiting) == detector.depth:
            done += waiting.popleft()()
        waiting.append(detector.submit_batch([rest.popleft() for _ in range(size)]))
    done += [result for finish in waiting for result in finish()]
    assert all(min(result.times) >= 0 for result in done)
    return [result.detections for result in done]


@pytest.mark.slow
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("integrated", [0, 1])
def test_each_frame_of_a_batch_is_as_alone(
    emulated: Emulated, cpu: OnnxRuntimeEngine, network: Network, integrated: int, half: bool
) -> None:
    """Reference: the same frames one by one, on an engine without batches; to the last bit."""
    emulated.machine(integrated=integrated)
    engine, alone = open_gpu(cpu, network, half=half), open_gpu(cpu, network, 1, half)
    assert (engine.max_batch, alone.max_batch) == (MOST, 1)
    detector, single = engine.detector(), alone.detector()
    assert (detector.max_batch, single.max_batch) == (MOST, 1)
    images = mixed(detector) * 3
    wanted = [single(image) for image in images]
    assert len({detections.scores.tobytes() for detections in wanted[:6]}) == 6  # so that a mix-up is seen
    for actual, right in zip(in_batches(detector, images, [1, 2, 3, 3, 2, 1, 3, 1, 2]), wanted, strict=True):
        assert_equal(actual, right)
    assert sum(map(len, wanted)) > 100
    single.close()
    detector.close()
    assert not emulated.freed_while_used()
    alone.close()
    engine.close()


@pytest.mark.slow
def test_a_reader_of_high_scores(emulated: Emulated, cpu: OnnxRuntimeEngine, network: Network) -> None:
    engine, images = open_gpu(cpu, network), frames(3, [(60, 80), (33, 200)])
    detections = in_batches(engine.detector(0.36), images, [3])
    for actual, image in zip(detections, images, strict=True):
        right = HostDetector(cpu)(image).above(0.36)
        np.testing.assert_array_equal(actual.boxes, right.boxes)
        np.testing.assert_array_equal(actual.scores, right.scores)
    assert sum(map(len, detections)) > 0
    engine.close()


def test_one_frame_more_or_none_is_refused(emulated: Emulated, cpu: OnnxRuntimeEngine) -> None:
    engine, images = open_gpu(cpu, HostDetections), frames(MOST + 1, [(60, 80)])
    detector = engine.detector()
    calls = emulated.calls()
    for batch in (images, []):
        with pytest.raises(ValueError, match=f"a batch must have 1 to {MOST} frames, but got {len(batch)}"):
            detector.submit_batch(batch)
    with pytest.raises(ValueError, match="must be"):
        detector.submit_batch([images[0], images[1][0]])
    assert emulated.calls() == calls
    engine.close()


def test_results_share_no_memory(emulated: Emulated, cpu: OnnxRuntimeEngine, network: Network) -> None:
    """Results stay as they are while both slots work on other frames, and whoever writes to one changes no other."""
    engine, images = open_gpu(cpu, network), frames(2 * MOST, [(60, 80), (33, 200)])
    detector = engine.detector()
    kept = [one.detections for one in detector.submit_batch(images[:MOST])()]
    wanted = [HostDetector(cpu)(image) for image in images[:MOST]]
    in_batches(detector, images[MOST:] * 2, [MOST, MOST])
    for actual, right in zip(kept, wanted, strict=True):
        assert_equal(actual, right)
    parts = [array for one in kept for array in (one.boxes, one.scores, one.labels)]
    assert not any(np.shares_memory(a, b) for place, a in enumerate(parts) for b in parts[:place])
    engine.close()


def test_a_slots_results_are_copies(emulated: Emulated, cpu: OnnxRuntimeEngine, network: Network) -> None:
    """They stay as they are in the slot's next work, even before a detector takes those above its score."""
    engine, images = open_gpu(cpu, network), frames(2 * MOST, [(60, 80), (33, 200)])
    with ExitStack() as stack:
        slot = FrameSlot(stack, engine._pipeline)
        kept = [one.detections for one in slot.submit(images[:MOST])()]
        slot.submit(images[MOST:])()
        for actual, image in zip(kept, images, strict=False):
            assert_equal(actual, HostDetector(cpu)(image))
    engine.close()


def test_more_layouts_than_stay_prepared(emulated: Emulated, cpu: OnnxRuntimeEngine) -> None:
    """A batch of six sizes, each larger than the one before, after frames that used up the places; twice."""
    engine = open_gpu(cpu, HostDetections, 6)
    detector, host = engine.detector(), HostDetector(cpu)
    images = frames(6, [(40 + 4 * number, 64) for number in range(6)])
    others = frames(6, [(64, 40 + 4 * number) for number in range(6)])
    batches = [others[:3], [others[2], *images[:5]], images, images[::-1]] * 2
    for batch in batches:
        for result, image in zip(detector.submit_batch(batch)(), batch, strict=True):
            assert_equal(result.detections, host(image))
    assert not emulated.freed_while_used()
    engine.close()
    assert emulated.leaks() == {}


def test_batches_under_way_are_waited_for(emulated: Emulated, cpu: OnnxRuntimeEngine, network: Network) -> None:
    engine, images = open_gpu(cpu, network), frames(MOST, [(60, 80), (33, 200)])
    detector = engine.detector()
    finish = [detector.submit_batch(images[:number]) for number in (2, 3)]
    detector.close()
    assert not emulated.freed_while_used()
    for one in finish:
        with pytest.raises(BackendError, match="the detector was closed before its result was asked for"):
            one()
    with pytest.raises(BackendError, match="this detector is closed"):
        detector.submit_batch(images)
    engine.close()
    assert emulated.leaks() == {}


def test_a_result_that_nobody_fetches(emulated: Emulated, cpu: OnnxRuntimeEngine, network: Network) -> None:
    """The next batch of the slot waits for it, and is right."""
    engine, images = open_gpu(cpu, network), frames(MOST, [(60, 80), (33, 200)])
    detector = engine.detector()
    for _ in range(detector.depth):
        detector.submit_batch(images[:2])
    for result, image in zip(detector.submit_batch(images)(), images, strict=True):
        assert_equal(result.detections, HostDetector(cpu)(image))
    assert not emulated.freed_while_used()
    engine.close()


# Graphs and copies.


@pytest.mark.parametrize(("kind", "pieces"), [(HostHeads, 2), (HostDetections, 1)])
def test_a_graph_for_each_size_that_came(emulated: Emulated, cpu: OnnxRuntimeEngine, kind: Network, pieces) -> None:
    """A size that came costs a graph of the network, and one of decode, in each slot; no other size does."""
    engine, images = open_gpu(cpu, kind), frames(MOST, [(60, 80)])
    detector = engine.detector()
    graphs = lambda: emulated.leaks()["executable graphs"]  # noqa: E731 - asked for several times
    assert graphs() == 2 * pieces
    for _ in range(2):
        in_batches(detector, [*images, *images], [3, 3])
        assert graphs() == 4 * pieces
    in_batches(detector, [*images, *images], [3, 2, 1])
    assert graphs() == 5 * pieces  # the 2 came to one slot
    captures = emulated.called().count("cuStreamBeginCapture")
    in_batches(detector, [*images, *images], [3, 3])
    assert emulated.called().count("cuStreamBeginCapture") == captures
    assert engine.graph == "yes"
    engine.close()


class Uncapturable(HostDetections):
    """Refuses the capture of a batch, but not of one image."""

    def context(self, batch: int = 1, memory: int = 0) -> HostContext:
        made = super().context(batch, memory)
        if batch > 1:
            made.why_no_graph = lambda stream: "not as a batch"  # type: ignore[method-assign]
        return made


def test_a_batch_that_cannot_be_captured_is_told(emulated: Emulated, cpu: OnnxRuntimeEngine) -> None:
    engine, images = open_gpu(cpu, Uncapturable), frames(2, [(60, 80)])
    detector = engine.detector()
    assert engine.graph == "yes"
    for actual, image in zip(in_batches(detector, images, [2]), images, strict=True):
        assert_equal(actual, HostDetector(cpu)(image))
    assert engine.graph == "no, for 1 of 3 pieces of work: not as a batch"
    engine.close()


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_one_copy_fetches_a_batch(emulated: Emulated, cpu: OnnxRuntimeEngine, batch: int) -> None:
    """One kernel and one copy for each frame, one graph and one copy back for all."""
    engine, images = open_gpu(cpu, HostDetections), frames(batch, [(60, 80)])
    detector = engine.detector()
    in_batches(detector, images * 2, [batch, batch])  # all sizes are prepared
    before = len(emulated.called())
    detector.submit_batch(images)()
    called = emulated.called()[before:]
    names = ("cuLaunchKernel", "cuMemcpyHtoDAsync", "cuGraphLaunch", "cuMemcpyDtoHAsync")
    assert [called.count(name) for name in names] == [batch, batch, 1, 1]
    engine.close()


# Memory.


class Refusing(HostHeads):
    """Lacks memory for batches of two."""

    def context(self, batch: int = 1, memory: int = 0) -> HostContext:
        if batch == 2:
            raise BackendError("the GPU is out of memory")
        return super().context(batch, memory)


def test_no_memory_for_a_new_size(emulated: Emulated, cpu: OnnxRuntimeEngine) -> None:
    """Frames one by one, and batches of other sizes, still work."""
    engine, images = open_gpu(cpu, Refusing), frames(3, [(60, 80)])
    detector = engine.detector()
    with pytest.raises(BackendError, match="out of memory"):
        detector.submit_batch(images[:2])
    for actual, image in zip(in_batches(detector, images * 2, [1, 3, 1, 1]), images * 2, strict=True):
        assert_equal(actual, HostDetector(cpu)(image))
    engine.close()
    assert emulated.leaks() == {}


@pytest.mark.slow
def test_each_failing_call_is_one_sentence_and_leaks_nothing(
    emulated: Emulated, cpu: OnnxRuntimeEngine, network: Network
) -> None:
    def scenario() -> None:
        engine = open_gpu(cpu, network, 2)
        try:
            with engine.detector() as detector:
                detector.submit_batch(frames(2, [(60, 80), (33, 200)]))()
        finally:
            engine.close()

    scenario()
    each_call_fails_cleanly(emulated, scenario, emulated.reset)


# Heads.


def test_heads_of_several_images(emulated: Emulated, cpu: OnnxRuntimeEngine) -> None:
    """Reference: the CPU's heads of each image; two batches under way."""
    engine, rng = open_gpu(cpu, HostHeads), np.random.default_rng(1)
    batches = [rng.normal(0, 1, (number, 3, *cpu.spec.input_size)).astype(np.float32) for number in (1, 3, 2, 3)]
    for pair in (batches[:2], batches[2:]):
        for images, finish in [(images, engine.submit(images)) for images in pair]:
            heads = finish()
            assert len(heads.loc) == len(heads.logits) == len(images)
            for place, image in enumerate(images):
                wanted = cpu.submit(image[None])()
                np.testing.assert_array_equal(heads.loc[place], wanted.loc[0])
                np.testing.assert_array_equal(heads.logits[place], wanted.logits[0])
    engine.close()


@pytest.mark.parametrize("shape", [(MOST + 1, 3, 32, 32), (0, 3, 32, 32), (1, 3, 16, 16), (1, 1, 32, 32)])
def test_images_that_do_not_fit(emulated: Emulated, cpu: OnnxRuntimeEngine, shape: tuple[int, ...]) -> None:
    engine = open_gpu(cpu, HostHeads)
    with pytest.raises(BackendError, match=rf"^the network takes 1 to {MOST} images of \(3, 32, 32\), but got [^\n]*$"):
        engine.submit(np.zeros(shape, np.float32))
    engine.close()


# Several cameras.


def test_the_loop_submits_batches(
    emulated: Emulated, cpu: OnnxRuntimeEngine, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three cameras always have a frame; each gets the detections of its own frames, as the host finds them."""
    sizes: list[int] = []
    submit_batch = GpuDetector.submit_batch

    def recorded(detector: GpuDetector, batch: Sequence[Pixels]) -> Callable[[], list]:
        sizes.append(len(batch))
        return submit_batch(detector, batch)

    monkeypatch.setattr(GpuDetector, "submit_batch", recorded)
    engine, kept = open_gpu(cpu, network), {name: Kept() for name in "abc"}
    with CameraLoop(engine.detector()) as loop:
        for name, sink in kept.items():
            loop.add(Camera(name, Ticking(100_000, live=False), [sink], buffer=EVERY))
        report = loop.run(max_frames=31)
    assert sum(sizes) == 31
    assert report.submissions == len(sizes) < 31
    assert 1 < max(sizes) <= MOST
    host, number = HostDetector(cpu), 0
    for sink in kept.values():
        assert sink.indices == list(range(len(sink.indices)))
        for index, detections in zip(sink.indices, sink.detections, strict=True):
            wanted = host(np.full((48, 64, 3), index, np.uint8)).above(0.5)
            np.testing.assert_array_equal(detections.boxes, wanted.boxes)
            np.testing.assert_array_equal(detections.scores, wanted.scores)
            number += len(wanted)
    engine.close()
    assert emulated.leaks() == {}
