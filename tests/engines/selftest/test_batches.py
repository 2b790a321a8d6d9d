"""The selftest's section on batches: equal results pass, and what a batch may do wrong fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ssd_edge.detections import Detections
from ssd_edge.detector import HostDetector, Result
from ssd_edge.engines.base import BuildOptions
from ssd_edge.engines.cuda.device import Device
from ssd_edge.engines.gpu.engine import GpuEngine
from ssd_edge.engines.onnxruntime import OnnxRuntimeEngine
from ssd_edge.engines.selftest import available, batches
from ssd_edge.engines.selftest.sections import FailedError, NotRunError, Setting
from ssd_edge.errors import BackendError
from ssd_edge.graph.heads import read_spec
from tests.cuda.emulated import Emulated
from tests.cuda.host_heads import HostDetections, HostHeads
from tests.engines.gpu.test_gpu import cubin

Change = Callable[[list[Result]], list[Result]]


class Batching(HostDetector):
    """A detector that takes four frames, and may give something else for several than for one."""

    max_batch = batches.MOST

    def __init__(self, heads: OnnxRuntimeEngine, change: Change) -> None:
        super().__init__(heads)
        self._change = change

    def submit_batch(self, frames):
        results = [self.submit(frame)() for frame in frames]
        return lambda: self._change(results) if len(results) > 1 else results


class BatchingEngine(OnnxRuntimeEngine):
    max_batch = batches.MOST
    change: Change = staticmethod(lambda results: results)
    graph = "yes"

    def detector(self, min_score: float = 0.0):
        return Batching(self, self.change)


@pytest.fixture
def setting(heads_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    monkeypatch.setattr(available, "why_not", lambda backend: None)
    monkeypatch.setattr(batches, "_QUICK", 8)
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (60, 80, 3), np.uint8) for _ in range(6)]
    return Setting(
        heads_onnx, None, read_spec(heads_onnx), frames, tmp_path, engine_with(lambda results: results), True
    )


def engine_with(change: Change, form: str = "") -> Callable[..., BatchingEngine]:
    """What builds an engine; its batches are changed if its name ends in ``form``."""

    def engine(name: str, onnx: Path, backend: str, options: BuildOptions) -> BatchingEngine:
        assert (backend, options.max_batch) == ("tensorrt", batches.MOST)
        made = BatchingEngine(onnx, read_spec(onnx), "FP32")
        if name.endswith(form):
            made.change = change
        return made

    return engine


def changed(result: Result, detections: Detections) -> Result:
    return result._replace(detections=detections)


FAULTS: dict[str, Change] = {
    "frames are mixed up": lambda results: results[::-1],
    "one frame is given for all": lambda results: [results[0]] * len(results),
    "the last frame is lost": lambda results: [*results[:-1], changed(results[-1], Detections.empty())],
    "boxes are those of another size": lambda results: [
        changed(one, Detections(one.detections.boxes / 2, one.detections.scores, one.detections.labels))
        for one in results
    ],
}


def test_batches_that_are_right(setting: Setting) -> None:
    sentence, details = batches.batches(setting)
    assert sentence.startswith(
        "frames in batches of up to 4 give what they give alone, to the last bit; milliseconds a "
    )
    assert list(details) == ["decode inside", "decode after it"]
    for one in details.values():
        assert (one["alike"], one["frames"], one["equal"], one["CUDA graph"]) == (1.0, 18, 18, "yes")
        assert one["compared"] > 20
        assert min(one["milliseconds alone"], one["milliseconds in batches"]) > 0


@pytest.mark.slow
def test_batches_over_the_emulated_driver(emulated: Emulated, setting: Setting) -> None:
    """The GPU's detector and kernels; the heads are those of the CPU."""
    cpu = OnnxRuntimeEngine(setting.model()[0], setting.model()[1], "FP32")

    def engine(name: str, onnx: Path, backend: str, options: BuildOptions) -> GpuEngine:
        device, kind = Device(), HostHeads if name.endswith("host-launch") else HostDetections
        return GpuEngine("emulated", kind(cpu, device, max_batch=options.max_batch), device, cubin())

    sentence, details = batches.batches(replace(setting, engine=engine))
    assert "give what they give alone, to the last bit; " in sentence
    assert {one["CUDA graph"] for one in details.values()} == {"yes"}


@pytest.mark.parametrize("fault", FAULTS)
def test_batches_that_are_wrong(setting: Setting, fault: str) -> None:
    """In one form of the two; the other is still compared."""
    planted = replace(setting, engine=engine_with(FAULTS[fault], "host-launch"))
    with pytest.raises(FailedError, match=r"^decode after it: a batch agrees on [^;]*, below 99 %$") as error:
        batches.batches(planted)
    assert error.value.details["decode inside"]["alike"] == 1.0


def test_bits_that_differ_are_told(setting: Setting) -> None:
    """As on a GPU that adds up in another order for several images: not wrong, but no claim is made of it."""

    def nudged(results: list[Result]) -> list[Result]:
        one = results[0].detections
        return [changed(results[0], Detections(one.boxes + np.float32(1e-3), one.scores, one.labels)), *results[1:]]

    sentence, details = batches.batches(replace(setting, engine=engine_with(nudged)))
    assert sentence.startswith("frames in batches of up to 4 give what they give alone; milliseconds a frame: ")
    assert details["decode inside"]["equal"] == 18 - (3 + 2 + 2)


def test_a_plan_that_takes_one_frame_fails(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Batching, "max_batch", 1)
    with pytest.raises(
        FailedError, match="decode inside: the detector takes 1 frames at once, not 4; decode after it: "
    ):
        batches.batches(setting)


def test_an_error_does_not_keep_the_other_form_from_being_tried(setting: Setting) -> None:
    def engine(name: str, *rest: object) -> BatchingEngine:
        if name.endswith("default"):
            raise BackendError("no tactic")
        return setting.engine(name, *rest)  # type: ignore[arg-type, return-value]

    with pytest.raises(FailedError, match=r"^no tactic$") as error:
        batches.batches(replace(setting, engine=engine))
    assert error.value.details["decode inside"] == {"failed": "no tactic"}
    assert error.value.details["decode after it"]["alike"] == 1.0


def test_what_is_missing(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotRunError, match=r"needs a model: ssd-edge selftest HEADS\.onnx"):
        batches.batches(replace(setting, heads=None, spec=None))
    blind = engine_with(lambda results: [changed(one, Detections.empty()) for one in results])
    monkeypatch.setattr(Batching, "submit", lambda self, frame: lambda: Result(Detections.empty(), None))
    with pytest.raises(NotRunError, match="the model finds nothing in these frames"):
        batches.batches(replace(setting, engine=blind))
    monkeypatch.setattr(available, "why_not", lambda backend: "no NVIDIA GPU")
    with pytest.raises(NotRunError, match="tensorrt: no NVIDIA GPU"):
        batches.batches(setting)
