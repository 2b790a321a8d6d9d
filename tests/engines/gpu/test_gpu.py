"""The GPU engine from frame to detections: real host code, real kernels, a CPU engine's heads, an emulated driver."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

from ssd_edge.detections import Detections
from ssd_edge.detector import HostDetector
from ssd_edge.engines.cuda.device import Device
from ssd_edge.engines.gpu.engine import GpuEngine
from ssd_edge.engines.kernels.compiler import compile_kernels
from ssd_edge.engines.onnxruntime import OnnxRuntimeEngine
from ssd_edge.errors import BackendError
from tests.cuda.emulated import Emulated
from tests.cuda.host_heads import HostHeads
from tests.engines.gpu.failing import each_call_fails_cleanly

KERNELS = "sm_86"


def cubin() -> bytes:
    images = compile_kernels(KERNELS).images
    return next(content for image, content in images.items() if image.kind == "cubin")


def open_gpu(cpu: OnnxRuntimeEngine, half: bool = False) -> GpuEngine:
    device = Device()
    return GpuEngine("emulated", HostHeads(cpu, device, half), device, cubin())


def frames(number: int, sizes: list[tuple[int, int]]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*sizes[i % len(sizes)], 3), np.uint8) for i in range(number)]


def assert_equal(got: Detections, wanted: Detections) -> None:
    np.testing.assert_array_equal(got.boxes, wanted.boxes)
    np.testing.assert_array_equal(got.scores, wanted.scores)
    np.testing.assert_array_equal(got.labels, wanted.labels)
    assert got.num_cut == wanted.num_cut


def test_detections_are_the_hosts_to_the_last_bit(emulated: Emulated, cpu: OnnxRuntimeEngine) -> None:
    """Two frames under way, of changing sizes: each result belongs to its own frame."""
    engine, host = open_gpu(cpu), HostDetector(cpu)
    detector = engine.detector()
    waiting: deque = deque()
    seen = 0
    for frame in frames(9, [(60, 80), (60, 80), (33, 200)]):
        waiting.append((frame, detector.submit(frame)))
        if len(waiting) == detector.depth:
            before, finish = waiting.popleft()
            result = finish()
            assert_equal(result.detections, host(before))
            assert min(result.times) >= 0
            seen += len(result.detections)
    for before, finish in waiting:
        assert_equal(finish().detections, host(before))
    assert seen > 50
    engine.close()
    assert emulated.leaks() == {}


def test_a_frame_that_changes_after_submit_changes_nothing(emulated: Emulated, cpu: OnnxRuntimeEngine) -> None:
    engine, host = open_gpu(cpu), HostDetector(cpu)
    (frame,) = frames(1, [(60, 80)])
    wanted = host(frame)
    finish = engine.detector().submit(frame)
    frame[:] = 0
    assert_equal(finish().detections, wanted)
    engine.close()


def test_heads_alone(emulated: Emulated, cpu: OnnxRuntimeEngine) -> None:
    engine = open_gpu(cpu)
    rng = np.random.default_rng(1)
    images = [rng.normal(0, 1, (1, 3, *cpu.spec.input_size)).astype(np.float32) for _ in range(3)]
    for image in images:
        got, wanted = engine.submit(image)(), cpu.submit(image)()
        np.testing.assert_array_equal(got.loc, wanted.loc)
        np.testing.assert_array_equal(got.logits, wanted.logits)
    engine.close()


def test_heads_in_half(emulated: Emulated, cpu: OnnxRuntimeEngine) -> None:
    """Image, loc and logits are rounded to FP16 once each; the GPU's detections equal the host's decode of those."""
    engine = open_gpu(cpu, half=True)
    (frame,) = frames(1, [(60, 80)])

    class Rounded:
        spec, depth = cpu.spec, 1

        def submit(self, images):
            heads = cpu.submit(images.astype(np.float16).astype(np.float32))()
            rounded = type(heads)(*(part.astype(np.float16).astype(np.float32) for part in heads))
            return lambda: rounded

        def detector(self, min_score=0.0):
            return HostDetector(self, min_score)

    assert_equal(engine.detector()(frame), HostDetector(Rounded())(frame))
    engine.close()


def test_arrays_that_are_not_frames_are_refused(emulated: Emulated, cpu: OnnxRuntimeEngine) -> None:
    engine = open_gpu(cpu)
    with pytest.raises(ValueError, match="must be"):
        engine.detector().submit(np.zeros((8, 8), np.uint8))
    engine.close()
    engine.close()  # a second time does nothing


@pytest.mark.slow
def test_each_failing_call_is_one_sentence_and_leaks_nothing(emulated: Emulated, cpu: OnnxRuntimeEngine) -> None:
    def scenario() -> None:
        engine = open_gpu(cpu)
        try:
            engine.detector()(frames(1, [(60, 80)])[0])
        finally:
            engine.close()

    scenario()
    assert each_call_fails_cleanly(emulated, scenario, emulated.reset) > 60


@pytest.mark.slow
def test_each_copy_or_kernel_that_fails_on_the_gpu_is_one_sentence(emulated: Emulated, cpu: OnnxRuntimeEngine) -> None:
    """The first failure on the GPU ends the context: nothing can be released any more, but the program continues."""
    (frame,) = frames(1, [(60, 80)])
    for number in range(100):
        emulated.reset()
        emulated.fail_work(number, 719)  # CUDA_ERROR_LAUNCH_FAILED
        try:
            engine = open_gpu(cpu)
            engine.detector()(frame)
        except BackendError as error:
            sentence = str(error)
        else:
            break
        assert "\n" not in sentence and "context is lost" in sentence  # noqa: PT018
    assert 15 < number < 100  # all of them: defaults, two slots that warm up, and the frame
