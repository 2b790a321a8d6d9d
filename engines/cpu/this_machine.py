"""A temporary engine for this machine's CPU, the same as build-engine makes, for measurements."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ssd_edge.engines import openvino
from ssd_edge.engines.backends import get_backend
from ssd_edge.engines.base import BuildOptions, PlanEntry
from ssd_edge.engines.cpu.weight_bits import heads_to_try
from ssd_edge.engines.openvino import OpenVinoEngine
from ssd_edge.progress import no_progress
from ssd_edge.spec import ModelSpec


@contextmanager
def engine_of_this_machine(onnx: Path, spec: ModelSpec) -> Iterator[OpenVinoEngine]:
    """Build and open an OpenVINO engine from the first form of the heads; its proof is not run.

    Raises:
        BackendError: OpenVINO refused the heads.
        MissingDependencyError: the processor needs weights of 7 bits, and the package ``onnx`` is not installed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "plan"
        folder.mkdir()
        heads, facts = next(heads_to_try(onnx, spec, get_backend(openvino.NAME), Path(scratch)))
        plan = openvino.build(heads, spec, folder, BuildOptions(), no_progress)
        entry = PlanEntry(openvino.NAME, plan.version, plan.precision, "", plan.files, onnx.name, "", {}, facts)
        with openvino.load(folder, entry, spec) as engine:
            yield engine
