"""ONNX Runtime backend on the CPU: the reference executor, and the reader of heads in ONNX files."""

from __future__ import annotations

import os
import platform
import re
import shutil
from base64 import b64decode
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnxruntime

from ssd_edge.detector import HostDetector, RawHeads
from ssd_edge.engines.base import BuildOptions, Plan, PlanEntry, Progress
from ssd_edge.errors import BackendError, ModelError, ProofError
from ssd_edge.proof import PROOF_KEY
from ssd_edge.spec import METADATA_KEY, ModelSpec

NAME = "onnxruntime"
ABOUT = "ONNX Runtime on the CPU: the reference"
OPTIONS: frozenset[str] = frozenset()
ANY_PROCESSOR = True
CARRIED = ()

onnxruntime.set_default_logger_severity(3)  # its warnings are about graph details that a user cannot change


class OnnxRuntimeEngine:
    """Heads in an ONNX file, computed in worker threads so that ``submit`` does not block.

    Attributes:
        WORKERS: number of batches computed at once; they share the cores.
        CONFIG: further session settings, by ONNX Runtime's names.
    """

    WORKERS = 1
    CONFIG: ClassVar[Mapping[str, str]] = {}
    depth = WORKERS + 1
    backend = NAME

    def __init__(self, path: Path, spec: ModelSpec, precision: str) -> None:
        self.spec = spec
        self.precision = precision
        self._session = _session(path, threads=max(1, num_cores() // self.WORKERS), config=self.CONFIG)
        self._workers = ThreadPoolExecutor(self.WORKERS, thread_name_prefix=self.backend)

    def submit(self, images: npt.NDArray[np.float32]) -> Callable[[], RawHeads]:
        """See ``Heads``."""
        return self._workers.submit(self._run, images).result

    def _run(self, images: npt.NDArray[np.float32]) -> RawHeads:
        try:
            loc, logits = self._session.run(["loc", "logits"], {"image": images})
        except Exception as error:  # its exceptions have no common base
            raise BackendError(f"ONNX Runtime failed: {_reason(error)}") from None
        return RawHeads(np.asarray(loc, np.float32), np.asarray(logits, np.float32))

    def detector(self, min_score: float = 0.0) -> HostDetector:
        """See ``Heads``."""
        return HostDetector(self, min_score)

    def close(self) -> None:
        """See ``Engine``."""
        self._workers.shutdown()


def build(onnx: Path, spec: ModelSpec, folder: Path, options: BuildOptions, progress: Progress) -> Plan:
    """Copy the ONNX file, which is the plan; see ``Backend``."""
    shutil.copyfile(onnx, folder / "heads.onnx")
    return Plan(("heads.onnx",), onnxruntime.__version__, precision_of(onnx))


def load(folder: Path, plan: PlanEntry, spec: ModelSpec) -> OnnxRuntimeEngine:
    """See ``Backend``."""
    return OnnxRuntimeEngine(folder / plan.files[0], spec, plan.precision)


def incompatibility(plan: PlanEntry) -> str | None:
    """Explain why the plan cannot run, see ``Backend``: a runtime reads the files of older releases."""
    return newer_than_installed("ONNX Runtime", "onnxruntime", plan.version, onnxruntime.__version__)


_LAST = {("onnxruntime", "3.10"): "1.23.2"}
"""Last release of a package for a Python version that later releases no longer support, by (package, Python)."""


def newer_than_installed(name: str, package: str, made_by: str, installed: str) -> str | None:
    """Explain that a plan was made by a later release than the installed one; None if it was not."""
    if _release(made_by) <= _release(installed):
        return None
    said = f"was built by {name} {made_by}, and {installed} is installed"
    python = ".".join(platform.python_version_tuple()[:2])
    last = _LAST.get((package, python))
    if last is not None and _release(last) < _release(made_by):
        return f"{said} (the last for Python {python} is {last}: build it again here, with --backend {package})"
    return f"{said} (pip install '{package}>={made_by}')"


def _release(version: str) -> tuple[int, ...]:
    numbers = []
    for part in version.split(".")[:2]:
        digits = "".join(c for c in part if c.isdigit())
        numbers.append(int(digits) if digits else 0)
    return tuple(numbers)


def precision_of(onnx: Path) -> str:
    """Return ``INT8`` if an ONNX file holds Q/DQ nodes, else ``FP32``; operator names are plain bytes in the file."""
    return "INT8" if b"DequantizeLinear" in onnx.read_bytes() else "FP32"


def read_spec(onnx: Path) -> ModelSpec:
    """Read the spec from the metadata of heads, and compare it with their shapes.

    Raises:
        ModelError: the file is not ONNX, does not hold heads of ssd-edge, or its shapes contradict the spec.
        SpecError: the spec has another version.
    """
    session = _session(onnx, optimise=False)
    text = _metadata(session).get(METADATA_KEY)
    if text is None:
        raise ModelError(
            f"{onnx} carries no model spec, so it was not made by ssd-edge export: "
            "give it one with ssd-edge import-onnx"
        )
    spec = ModelSpec.from_text(text)
    _check_shapes(onnx, session, spec)
    return spec


def read_proof(onnx: Path) -> bytes | None:
    """Read the packed proof from the metadata of heads, see ``ssd_edge.proof``.

    Returns:
        The archive; empty if the heads were made with ``--no-proof``, None if the metadata has no such entry.

    Raises:
        ModelError: the file is not ONNX.
        ProofError: the entry is not a proof.
    """
    text = _metadata(_session(onnx, optimise=False)).get(PROOF_KEY)
    try:
        return None if text is None else b64decode(text, validate=True)
    except ValueError as error:
        raise ProofError(f"the proof in {onnx} cannot be read ({error}): export or calibrate the model again") from None


def _metadata(session: Any) -> dict[str, str]:
    return dict(session.get_modelmeta().custom_metadata_map)


def _check_shapes(onnx: Path, session: Any, spec: ModelSpec) -> None:
    boxes, classes = spec.num_default_boxes, spec.num_classes
    wanted = {"image": [3, *spec.input_size], "loc": [boxes, 4], "logits": [boxes, classes]}
    shapes = {node.name: list(node.shape[1:]) for node in (*session.get_inputs(), *session.get_outputs())}
    for name, shape in wanted.items():
        if shapes.get(name) != shape:
            raise ModelError(f"{onnx} must have {name} (B, {', '.join(map(str, shape))}), but has {shapes.get(name)}")


def num_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _session(
    path: Path, optimise: bool = True, threads: int | None = None, config: Mapping[str, str] | None = None
) -> Any:
    if not path.is_file():
        raise ModelError(f"there is no file {path}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or num_cores()
    for key, value in (config or {}).items():
        options.add_session_config_entry(key, value)
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base
        if "ssd_edge:Ssd" in str(error):
            raise ModelError(
                f"{path} has its decode inside, for TensorRT's own tools: give the heads that ssd-edge "
                "export-decode made it from"
            ) from None
        raise ModelError(f"{path} is no ONNX file that ONNX Runtime can run: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """First line of the error, without a prefix such as "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : "."""
    lines = str(error).splitlines() or [type(error).__name__]
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", lines[0])
