"""ONNX Runtime on the CPU: the reference executor."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import onnxruntime

from ssd_edge.detector import Engine, RawHeads
from ssd_edge.engines.base import BuildOptions, Plan, PlanEntry
from ssd_edge.engines.cpu.releases import newer_than_installed
from ssd_edge.errors import BackendError, ModelError
from ssd_edge.graph.heads import open_heads, precision_of
from ssd_edge.progress import Progress
from ssd_edge.spec import ModelSpec

NAME = "onnxruntime"
OPTIONS: frozenset[str] = frozenset()
ANY_PROCESSOR = True
CARRIED = ()


class OnnxRuntimeEngine(Engine):
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
        threads = max(1, num_cores() // self.WORKERS)
        self._session = open_heads(path, threads=threads, settings=self.CONFIG)
        self._workers = ThreadPoolExecutor(self.WORKERS, thread_name_prefix=self.backend)

    def submit(self, images: npt.NDArray[np.float32]) -> Callable[[], RawHeads]:
        """See ``Heads``."""
        return self._workers.submit(self._run, images).result

    def _run(self, images: npt.NDArray[np.float32]) -> RawHeads:
        try:
            loc, logits = self._session.run(["loc", "logits"], {"image": images})
        except ModelError as error:
            raise BackendError(str(error)) from None
        return RawHeads(np.asarray(loc, np.float32), np.asarray(logits, np.float32))

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


def num_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
