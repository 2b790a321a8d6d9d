"""The engine that build-engine makes for this machine's CPU, for as long as something is measured with it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ssd_edge.engines import openvino
from ssd_edge.engines.base import BuildOptions, PlanEntry, get_backend
from ssd_edge.engines.cpu.weight_bits import heads_to_try
from ssd_edge.engines.openvino import OpenVinoEngine
from ssd_edge.spec import ModelSpec


@contextmanager
def engine_of_this_machine(onnx: Path, spec: ModelSpec) -> Iterator[OpenVinoEngine]:
    """OpenVINO's engine of heads, in the form that is tried first here; it is not proved, since it is to be measured.

    Raises:
        BackendError: OpenVINO refused the heads.
        MissingDependencyError: the processor needs weights of 7 bits, and the package ``onnx`` is not installed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "plan"
        folder.mkdir()
        heads, facts = next(heads_to_try(onnx, spec, get_backend(openvino.NAME), Path(scratch)))
        plan = openvino.build(heads, spec, folder, BuildOptions(), lambda done, total: None)
        entry = PlanEntry(openvino.NAME, plan.version, plan.precision, "", plan.files, onnx.name, "", {}, facts)
        with closing(openvino.load(folder, entry, spec)) as engine:
            yield engine
