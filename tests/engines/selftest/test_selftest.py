"""The selftest: sections that ran and were right pass, sections that could not run never do, planted faults fail."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ssd_edge.detections import Detections
from ssd_edge.detector import Detector, HostDetector, Result, StageTimes
from ssd_edge.engines import backends
from ssd_edge.engines.base import BuildOptions
from ssd_edge.engines.bundle.build import build_bundle
from ssd_edge.engines.bundle.load import load_bundle
from ssd_edge.engines.onnxruntime import OnnxRuntimeEngine
from ssd_edge.engines.proof.prove import keep_proof
from ssd_edge.engines.selftest import available, engines, frame_memory, kernels, proof
from ssd_edge.engines.selftest.results import counts, page, write_results
from ssd_edge.engines.selftest.sections import FailedError, NotRunError, Section, Setting, run_sections
from ssd_edge.engines.selftest.tools import gpu_milliseconds
from ssd_edge.errors import BackendError, MissingDependencyError
from ssd_edge.graph.heads import read_spec, write_heads
from tests.cuda.emulated import Emulated
from tests.engines.proof.test_proving import FAULTS as PLANTED
from tests.engines.proof.test_proving import faulty, scenes
from tests.helpers import Chosen, small_spec
from tests.models_for_tests import marks_model

HOSTILE = "<script>alert('x')</script>&"


class Altered(Detector):
    """A detector whose detections are changed."""

    def __init__(self, inner: Detector, change) -> None:
        self.spec, self.depth, self._inner, self._change = inner.spec, inner.depth, inner, change

    def submit(self, frame):
        detections = self._change(self._inner(frame))
        return lambda: Result(detections, StageTimes(0, 0, 0))


class AlteredEngine(OnnxRuntimeEngine):
    """An engine with a fault."""

    change = staticmethod(lambda detections: detections)

    def detector(self, min_score=0.0):
        return Altered(HostDetector(self, min_score), self.change)


@pytest.fixture
def setting(heads_onnx: Path, tmp_path: Path) -> Setting:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (60, 80, 3), np.uint8) for _ in range(4)]
    spec = read_spec(heads_onnx)

    def engine(name: str, onnx: Path, backend: str, options: BuildOptions | None):
        return AlteredEngine(onnx, spec, "FP32")

    return Setting(heads_onnx, heads_onnx, spec, frames, tmp_path, engine, quick=True)


@pytest.fixture
def all_run(monkeypatch) -> None:
    """A machine on which all backends can run."""
    monkeypatch.setattr(available, "why_not", lambda backend: None)
    monkeypatch.setattr(engines, "installed_version", lambda: "10.16.1")


@pytest.mark.slow
def test_engines_without_a_cuda_graph_are_named(setting, all_run, monkeypatch):
    """The reason is among the details; an engine of a CPU has no entry."""

    class Graphed(AlteredEngine):
        graph = "no, for 2 of 4 pieces of work: it waits"

    def engine(name, onnx, backend, options):
        kind = Graphed if backend == "tensorrt" else AlteredEngine
        return kind(onnx, setting.spec, "FP32")

    for work, name in ((engines.latency, "tensorrt default"), (engines.precisions, "tensorrt FP32")):
        sentence, details = work(replace(setting, engine=engine))
        assert f"; no CUDA graph: {name}, " in sentence
        assert details[name]["CUDA graph"].endswith("it waits")
        assert "CUDA graph" not in details.get("openvino default", details.get("tensorrt-rtx FP32"))


FAULTS = {
    "half are missing": lambda d: Detections(d.boxes[::2], d.scores[::2], d.labels[::2]),
    "another class": lambda d: Detections(d.boxes, d.scores, 1 - d.labels),
    "moved": lambda d: Detections(d.boxes + np.float32(40), d.scores, d.labels),
    "scores": lambda d: Detections(d.boxes, d.scores * np.float32(0.7), d.labels),
    "too many": lambda d: Detections(
        np.concatenate([d.boxes, d.boxes + 30]), np.concatenate([d.scores] * 2), np.concatenate([d.labels] * 2)
    ),
}


def with_fault(setting: Setting, name: str, change) -> Setting:
    def engine(asked, onnx, backend, options):
        made = setting.engine(asked, onnx, backend, options)
        if asked == name:
            made.change = change
        return made

    return replace(setting, engine=engine)


@pytest.mark.slow
def test_equal_engines_pass(setting, all_run, monkeypatch):
    monkeypatch.delenv(engines.VARIABLE, raising=False)
    for work, keys in (
        (engines.cpu, {"FP32", "INT8"}),
        (engines.decode_forms, {"ahead-of-time", "python", "not run"}),
        (
            engines.precisions,
            {"not run", *(f"tensorrt{b} {p}" for b in ("", "-rtx") for p in ("FP32", "FP16", "INT8"))},
        ),
    ):
        sentence, details = work(setting)
        assert "100.0 %" in sentence
        assert set(details) == keys
        assert all(one["compared"] > 20 for name, one in details.items() if name != "not run")
    sentence, details = engines.latency(setting)
    assert sentence.startswith("median milliseconds of a frame: tensorrt default ")
    assert 0 < details["openvino INT8"]["p50"] <= details["openvino INT8"]["p99"]
    assert {"machine before", "machine after"} <= set(details)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("work", "name"),
    [
        (engines.cpu, "cpu-openvino-FP32"),
        (engines.decode_forms, "form-ahead-of-time"),
        (engines.precisions, "tensorrt-rtx-FP16"),
        (engines.precisions, "tensorrt-INT8"),
    ],
)
def test_an_engine_that_finds_something_else_fails(setting, all_run, work, name, fault):
    with pytest.raises(FailedError, match="agrees on"):
        work(with_fault(setting, name, FAULTS[fault]))


def test_one_that_fails_does_not_keep_the_others_from_being_tried(setting, all_run):
    broken = with_fault(setting, "tensorrt-FP32", FAULTS["moved"])

    def engine(asked, onnx, backend, options):
        if asked == "tensorrt-FP16":
            raise BackendError("no tactic")
        return broken.engine(asked, onnx, backend, options)

    with pytest.raises(FailedError, match=r"tensorrt FP32 agrees on .*; no tactic$") as error:
        engines.precisions(replace(setting, engine=engine))
    assert error.value.details["tensorrt FP16"] == {"failed": "no tactic"}
    assert error.value.details["tensorrt-rtx FP32"]["alike"] == 1.0
    (section,) = run_sections(
        replace(setting, engine=engine), {"p": engines.precisions}, lambda *what: None, lambda one: None
    )
    assert (section.status, section.details) == ("failed", error.value.details)


def test_a_model_that_finds_nothing_is_not_run(setting, all_run):
    empty = lambda d: Detections.empty()  # noqa: E731 - as in FAULTS
    blind = with_fault(with_fault(setting, "cpu-openvino-FP32", empty), "cpu-onnxruntime-FP32", empty)
    with pytest.raises(NotRunError, match="finds nothing in these frames"):
        engines.cpu(blind)


def test_sections_with_missing_parts_never_pass(setting, monkeypatch):
    """This machine has no GPU; nor is there a model in the second setting."""
    bare = Setting(None, None, None, setting.frames, setting.folder, setting.engine)
    for work in (engines.cpu, engines.decode_forms, engines.precisions, engines.latency, kernels.kernels):
        with pytest.raises(NotRunError, match=r"needs a model: ssd-edge selftest HEADS\.onnx"):
            work(bare)
    monkeypatch.setattr(available, "why_not", lambda backend: "no NVIDIA GPU")
    for work in (engines.decode_forms, engines.precisions, engines.latency):
        with pytest.raises(NotRunError, match="tensorrt: no NVIDIA GPU"):
            work(setting)


def test_the_kernels_are_numpys(emulated: Emulated, setting):
    sentence, details = kernels.kernels(setting)
    assert details["results"] == 2 * (6 + 4 + 6 * 4)  # six pixel formats in four colours
    assert sentence.startswith("68 results of ")


@pytest.mark.parametrize(("integrated", "used"), [(0, "copied"), (1, "mapped")])
def test_memory_for_frames_is_measured(emulated: Emulated, setting, integrated, used):
    emulated.machine(integrated=integrated)
    sentence, details = frame_memory.frame_memory(replace(setting, quick=True))
    assert sentence.endswith(f"; used: {used}")
    assert {kind: min(one.values()) > 0 for kind, one in details["milliseconds"].items()} == {"BGR": True, "NV12": True}


@pytest.mark.parametrize(
    ("what", "planted", "words"),
    [
        ("to_pixels", lambda boxes, size: boxes * 1.0001, "decode of random 0 heads in float32 is not NumPy's"),
        (
            "normalise",
            lambda frame, spec: np.zeros((1, 3, *spec.input_size), np.float32),
            r"is off by up to .*; decode is right",
        ),
    ],
)
def test_a_kernel_that_computes_something_else_fails(emulated: Emulated, setting, monkeypatch, what, planted, words):
    monkeypatch.setattr(kernels, what, planted)
    with pytest.raises(FailedError, match=words):
        kernels.kernels(setting)


def test_a_pixel_that_differs_leaves_no_decode_untried(emulated: Emulated, setting, monkeypatch):
    tried = []
    monkeypatch.setattr(kernels, "_compare", lambda *what: tried.append(what[3:5]))
    monkeypatch.setattr(kernels, "normalise", lambda frame, spec: np.zeros((1, 3, *spec.input_size), np.float32))
    with pytest.raises(FailedError, match="frame is off by up to"):
        kernels.kernels(setting)
    assert len(set(tried)) == 2 * 6


def test_a_passed_section_lists_what_was_not_run(setting, monkeypatch):
    """The CPU's latency says nothing about a GPU, so the GPU backends are listed as not run."""
    monkeypatch.setattr(available, "why_not", lambda backend: None if backend == "openvino" else "no NVIDIA GPU")
    sentence, details = engines.latency(setting)
    assert sentence.endswith("; not run: tensorrt, tensorrt-rtx")
    assert details["not run"]["tensorrt"] == "no NVIDIA GPU"


def test_no_gpu_is_not_run(emulated: Emulated, setting):
    emulated.machine(devices=0)
    with pytest.raises(NotRunError, match="it needs a GPU: "):
        kernels.kernels(setting)


@pytest.mark.parametrize("work", [kernels.kernels, frame_memory.frame_memory])
def test_no_compiler_is_not_run(emulated: Emulated, setting, monkeypatch, work):
    def compile_kernels(architecture: str) -> None:
        raise MissingDependencyError("NVRTC", "rtx", "compiling CUDA kernels")

    monkeypatch.setattr(kernels, "compile_kernels", compile_kernels)
    with pytest.raises(NotRunError, match="needs NVRTC, which is not installed"):
        work(setting)


def test_each_outcome_of_a_section(setting):
    def raising(error):
        def work(setting):
            raise error

        return work

    works = {
        "good": lambda setting: ("all is right", {"n": 1}),
        "missing": raising(NotRunError("no GPU")),
        "wrong": raising(FailedError("off by one")),
        "a fault": raising(ZeroDivisionError("division by zero")),
    }
    told, kept = [], []
    sections = run_sections(setting, works, lambda *what: told.append(what), kept.append)
    assert [(one.status, one.sentence) for one in sections] == [
        ("passed", "all is right"),
        ("not run", "no GPU"),
        ("failed", "off by one"),
        ("failed", "ZeroDivisionError: division by zero"),
    ]
    assert kept == sections
    assert told == [(number, 4, name) for number, name in enumerate(works)]
    assert counts(sections) == {"passed": 1, "failed": 2, "not run": 1}


def test_the_page_and_the_json(tmp_path):
    sections = [
        Section("kernels", "passed", HOSTILE, {HOSTILE: HOSTILE}, 1.5),
        Section("trtexec", "not run", "it is not installed"),
    ]
    text = page(sections, {"processor": HOSTILE, "system": "Linux"})
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 3
    assert "1 passed, 0 failed, 1 not run" in text
    write_results(sections, {"processor": "p"}, tmp_path)
    content = json.loads((tmp_path / "selftest.json").read_text())
    assert content["counts"] == {"passed": 1, "failed": 0, "not run": 1}
    assert [one["status"] for one in content["sections"]] == ["passed", "not run"]
    assert (tmp_path / "selftest.html").read_text().startswith("<!doctype html>")


def test_reading_the_output_of_trtexec():
    line = (
        "[01/01/2026-00:00:00] [I] GPU Compute Time: min = 1.01 ms, max = 2.5 ms, mean = 1.2 ms, median = 1.11 ms, "
        "percentile(90%) = 1.3 ms"
    )
    assert gpu_milliseconds(f"[I] Latency: median = 9 ms\n{line}\n") == 1.11
    assert gpu_milliseconds("[E] failed") is None


def test_reading_the_output_of_tegrastats():
    """A line of an AGX Orin, JetPack 6."""
    line = (
        "01-08-2025 10:00:00 RAM 3181/62841MB (lfb 12x4MB) SWAP 0/31421MB CPU [1%@729,0%@729] GR3D_FREQ 0% "
        "cpu@46.5C gpu@43.1C VDD_GPU_SOC 3205mW/3186mW VDD_CPU_CV 801mW/801mW VIN_SYS_5V0 4032mW/4000mW"
    )
    assert engines.rails(line) == {"VDD_GPU_SOC": 3.205, "VDD_CPU_CV": 0.801, "VIN_SYS_5V0": 4.032}
    assert engines.rails("") == {}


@pytest.fixture
def proved(tmp_path) -> Setting:
    """Heads that carry a proof, and engines built from them."""
    spec, heads = small_spec(), tmp_path / "marks.onnx"
    write_heads(marks_model(), spec, heads)
    keep_proof(heads, scenes())

    def engine(name: str, onnx: Path, backend: str, options: BuildOptions | None):
        build_bundle(onnx, tmp_path / f"{name}.engine", backend, options=options)
        return load_bundle(tmp_path / f"{name}.engine")

    return Setting(heads, None, spec, [], tmp_path, engine)


def test_the_proof_of_the_heads_is_run_by_each_backend(proved, monkeypatch):
    why = {"tensorrt": "no NVIDIA GPU", "tensorrt-rtx": "no NVIDIA GPU"}
    monkeypatch.setattr(available, "why_not", why.get)
    said, details = proof.proof(proved)
    assert "openvino of FP32 heads" in said
    assert said.endswith("; not run: tensorrt, tensorrt-rtx")
    assert details["onnxruntime of FP32 heads"]["holds"]
    assert details["not run"] == why


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_fails_the_proof(proved, monkeypatch, fault):
    monkeypatch.setattr(available, "why_not", lambda backend: None if backend == "openvino" else "not here")
    monkeypatch.setitem(backends.BACKENDS, "openvino", Chosen(lambda: faulty(PLANTED[fault][0])))
    with pytest.raises(FailedError, match=PLANTED[fault][1]):
        proof.proof(proved)


def test_without_a_proof_that_section_has_not_run(setting):
    with pytest.raises(NotRunError, match="the heads carry no proof"):
        proof.proof(setting)
