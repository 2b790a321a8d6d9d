"""Selftest sections that compare engines on real frames (CPU, GPU, forms of decode, precisions) and time them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from ssd_edge.detections import Detections
from ssd_edge.detector import Engine
from ssd_edge.engines.backends import GPU_BACKENDS
from ssd_edge.engines.base import BuildOptions
from ssd_edge.engines.plugins.forms import AHEAD_OF_TIME_SINCE, FORMS
from ssd_edge.engines.plugins.library_plugin import VARIABLE
from ssd_edge.engines.selftest import available
from ssd_edge.engines.selftest.compared import LEAST, agreement, graph_of, require, without_graph
from ssd_edge.engines.selftest.sections import FailedError, NotRunError, Setting
from ssd_edge.engines.tensorrt.fitness import installed_version
from ssd_edge.engines.tensorrt.versions import release_of
from ssd_edge.errors import SsdEdgeError
from ssd_edge.machine.examine import PROBES, examine
from ssd_edge.machine.host import UnansweredError, this_host
from ssd_edge.pixels import Image
from ssd_edge.stream.durations import Durations

_WARMUP = 10
_STATE = ("Jetson", "power mode", "GPU state", "processor", "temperature")


def cpu(setting: Setting) -> tuple[str, Mapping[str, Any]]:
    """Compare OpenVINO with ONNX Runtime, in FP32 and, if INT8 heads were given, in INT8."""
    heads, _ = setting.model()
    comparisons = _Comparisons()
    for precision, onnx in (("FP32", heads), ("INT8", setting.int8)):
        if onnx is not None:
            wanted = _detected(setting, _Asked(f"cpu-onnxruntime-{precision}", onnx, "onnxruntime"))
            asked = _Asked(f"cpu-openvino-{precision}", onnx, "openvino")
            comparisons.compare(precision, f"OpenVINO in {precision}", LEAST[precision], wanted, setting, asked)
    return f"OpenVINO finds what ONNX Runtime finds ({comparisons.summary()})", comparisons.details


def decode_forms(setting: Setting) -> tuple[str, Mapping[str, Any]]:
    """Compare each form of decode inside a TensorRT engine with decode launched after the heads.

    TensorRT allows one kind of run-time plugins in a process: the library's if one is named, else Python's.
    """
    heads, _ = setting.model()
    available.must_run("tensorrt")
    at_run_time = "library" if os.environ.get(VARIABLE) else "python"
    comparisons = _Comparisons()
    left_out = {"library" if at_run_time == "python" else "python": f"{VARIABLE} decides which of the two is tried"}
    version = installed_version()
    if version is None or release_of(version) < AHEAD_OF_TIME_SINCE:
        left_out["ahead-of-time"] = "this release of TensorRT does not have it"
    reference = _detected(
        setting, _Asked("form-host-launch", heads, "tensorrt", BuildOptions("FP32", decode="host-launch"))
    )
    for form in FORMS:
        if form == "host-launch" or form in left_out:
            continue
        asked = _Asked(f"form-{form}", heads, "tensorrt", BuildOptions("FP32", decode=form))
        comparisons.compare(form, f"decode {form}", LEAST["FP32"], reference, setting, asked)
    sentence = f"decode inside the engine agrees with decode after it ({comparisons.summary()}){_not_run(left_out)}"
    return sentence, {**comparisons.details, "not run": left_out}


def precisions(setting: Setting) -> tuple[str, Mapping[str, Any]]:
    """Compare each precision of each GPU backend with the CPU on real frames; INT8 with the CPU's INT8."""
    heads, _ = setting.model()
    left_out = {backend: why for backend in GPU_BACKENDS if (why := available.why_not(backend)) is not None}
    if len(left_out) == len(GPU_BACKENDS):
        raise NotRunError("; ".join(f"{backend}: {why}" for backend, why in left_out.items()))
    wanted = {"FP32": _detected(setting, _Asked("reference-fp32", heads, "onnxruntime"))}
    if setting.int8 is not None:
        wanted["INT8"] = _detected(setting, _Asked("reference-int8", setting.int8, "onnxruntime"))
    else:
        left_out["INT8"] = "no INT8 heads were given: --int8 HEADS.int8.onnx"
    comparisons = _Comparisons()
    for backend in (name for name in GPU_BACKENDS if name not in left_out):
        for precision in ("FP32", "FP16", "INT8"):
            onnx = setting.int8 if precision == "INT8" else heads
            if onnx is not None:
                name, reference = f"{backend} {precision}", wanted["INT8" if precision == "INT8" else "FP32"]
                asked = _Asked(name.replace(" ", "-"), onnx, backend, BuildOptions(precision))
                comparisons.compare(name, name, LEAST[precision], reference, setting, asked)
    sentence = f"GPU engines agree with the CPU ({comparisons.summary()})"
    sentence += f"{without_graph(comparisons.details)}{_not_run(left_out)}"
    return sentence, {**comparisons.details, "not run": left_out}


def latency(setting: Setting) -> tuple[str, Mapping[str, Any]]:
    """Time each engine that runs here, frame by frame, and record the machine's state before and after."""
    heads, _ = setting.model()
    backends = (*GPU_BACKENDS, "openvino")
    left_out = {backend: why for backend in backends if (why := available.why_not(backend)) is not None}
    before = _state()
    details: dict[str, dict[str, Any]] = {}
    for backend in (name for name in backends if name not in left_out):
        for kind, onnx in (("default", heads), ("INT8", setting.int8)):
            if onnx is not None:
                with setting.engine(f"latency-{backend}-{kind}", onnx, backend, None) as engine:
                    times = _latency(engine, setting.frames, 30 if setting.quick else 200)
                    details[f"{backend} {kind}"] = {**times, **graph_of(engine)}
    if not details:
        raise NotRunError("; ".join(f"{backend}: {why}" for backend, why in left_out.items()))
    medians = ", ".join(f"{name} {one['p50']:.1f}" for name, one in details.items())
    return f"median milliseconds of a frame: {medians}{without_graph(details)}{_not_run(left_out)}", {
        **details,
        "not run": left_out,
        "machine before": before,
        "machine after": _state(),
    }


class _Asked(NamedTuple):
    """An engine to build: arguments of ``Setting.engine``."""

    name: str
    onnx: Path
    backend: str
    options: BuildOptions | None = None


class _Comparisons:
    """The comparisons of a section; a failed one does not stop the others."""

    def __init__(self) -> None:
        self.details: dict[str, Mapping[str, Any]] = {}
        self._wrong: list[str] = []

    def compare(
        self,
        name: str,
        who: str,
        least: float,
        wanted: Sequence[Detections],
        setting: Setting,
        asked: _Asked,
    ) -> None:
        """Build an engine, and compare its detections with the wanted ones."""
        try:
            with setting.engine(*asked) as engine:
                agreed = agreement(wanted, _detections(engine, setting.frames))
                self.details[name] = {**agreed, **graph_of(engine)}
            require(agreed, least, who)
        except NotRunError:
            raise
        except SsdEdgeError as error:
            self._wrong.append(str(error))
            self.details.setdefault(name, {"failed": str(error)})

    def summary(self) -> str:
        """Describe each comparison in words.

        Raises:
            FailedError: a comparison failed.
        """
        if self._wrong:
            raise FailedError("; ".join(self._wrong), self.details)
        return ", ".join(f"{name} {100 * one['alike']:.1f} %" for name, one in self.details.items())


def _latency(engine: Engine, frames: Sequence[Image], number: int) -> dict[str, float]:
    took = Durations()
    with engine.detector() as detector:
        for k in range(-_WARMUP, number):
            began = perf_counter()
            detector(frames[k % len(frames)])
            if k >= 0:
                took.add(perf_counter() - began)
    return {name: 1000 * seconds for name, seconds in took.percentiles()._asdict().items()}


def _state() -> dict[str, list[str]]:
    """Read clocks, temperature and power, on which latency depends."""
    host = this_host()
    examined = examine(host, {name: PROBES[name] for name in _STATE})
    state = {name: [f"{one.name}: {one.value}" for one in findings] for name, findings in examined.items()}
    with suppress(UnansweredError):  # tegrastats exists only on a Jetson, and never ends: one line is enough
        line = host.run(("sh", "-c", "tegrastats --interval 200 | head -n 1")).out
        if watts_by_rail := rails(line):
            state["power"] = [f"{rail}: {watts:g} W" for rail, watts in watts_by_rail.items()]
    return state


def rails(line: str) -> dict[str, float]:
    """Parse watts by rail from a line of tegrastats: ``VDD_GPU_SOC 3205mW/3205mW`` is present and average power."""
    return {name: int(now) / 1000 for name, now in re.findall(r"\b([A-Z][A-Z0-9_]+) (\d+)mW/\d+mW", line)}


def _detected(setting: Setting, asked: _Asked) -> list[Detections]:
    with setting.engine(*asked) as engine:
        return _detections(engine, setting.frames)


def _detections(engine: Engine, frames: Sequence[Image]) -> list[Detections]:
    with engine.detector() as detector:
        return [detector(frame).above(0.05) for frame in frames]


def _not_run(left_out: Mapping[str, str]) -> str:
    """End of a section's sentence that lists what was not run; the reasons are in its details."""
    return f"; not run: {', '.join(left_out)}" if left_out else ""
