"""AP of INT8 engines compared with their files computed exactly, on this processor and on one without VNNI.

Each model is calibrated once, and each set of instructions measures the same files in a separate process. With
``ONEDNN_MAX_CPU_ISA=AVX2``, OpenVINO behaves as on a processor without VNNI. ONNX Runtime has no such switch: it gets
7-bit weights there too, but computes with this processor's own instructions.

python benchmarks/int8_exact.py FOLDER     measures the INT8 files of a folder, as JSON; ``measure`` starts this
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from figure import Figure
from int8_models import KEPT, SSD300_CHECKPOINT, Case, cases

from ssd_edge.calibration.closest import calibrate_closest
from ssd_edge.detector import Engine, Heads
from ssd_edge.engines.backends import get_backend
from ssd_edge.engines.base import BuildOptions, PlanEntry
from ssd_edge.engines.cpu.exact import open_exact
from ssd_edge.engines.cpu.weight_bits import heads_to_try
from ssd_edge.engines.proof.prove import keep_proof
from ssd_edge.graph.heads import read_spec
from ssd_edge.machine import instructions
from ssd_edge.machine.host import this_host
from ssd_edge.proof import POOL

BACKENDS = ("openvino", "onnxruntime")
INSTRUCTIONS = ("", "AVX2")
"""Values of ``ONEDNN_MAX_CPU_ISA``: empty for the processor's own instructions, and AVX2 for one without VNNI."""

GOAL = 0.1


def measure() -> Figure:
    """Return the largest difference between an engine's AP and that of its INT8 file."""
    with tempfile.TemporaryDirectory() as folder:
        for case, int8 in _files(Path(folder)):
            calibrate_closest(case.job, int8)
            keep_proof(int8, case.images[:POOL])  # as ssd-edge calibrate does
            print(f"{case.name}: calibrated", file=sys.stderr, flush=True)
        results = {row["instructions"]: row for row in (_in_a_process(Path(folder), cap) for cap in INSTRUCTIONS)}
    rows = [(kind, model, row) for kind, result in results.items() for model, row in result["models"].items()]
    differences = {
        (kind, model, name): row["engines"][name]["ap"] - row["exact"] for kind, model, row in rows for name in BACKENDS
    }
    worst = max(differences, key=lambda key: abs(differences[key]))
    value = abs(differences[worst])
    own = max(abs(e["ap"] - e["of its weights"]) for _, _, row in rows for e in row["engines"].values())
    reason = "" if SSD300_CHECKPOINT.exists() else f"SSD300 left out: there is no {SSD300_CHECKPOINT.relative_to(KEPT)}"
    return Figure(
        "int8-exact",
        value,
        "points of AP between an engine and its INT8 file computed exactly, at most",
        f"<= {GOAL}",
        value <= GOAL,
        {**results, "left out": reason},
        "; ".join(
            filter(
                None,
                (
                    f"{worst[2]} on {worst[1]} ({worst[0]})",
                    f"from the very weights that it has, at most {own:.2f}",
                    *(_beside(*row) for row in rows),
                    reason,
                ),
            )
        ),
    )


def _files(folder: Path) -> Iterator[tuple[Case, Path]]:
    """Yield each model with the path of its INT8 file; SSD300 only if it has been trained already."""
    number = None if SSD300_CHECKPOINT.exists() else 4
    for k, case in enumerate(islice(cases(folder), number)):
        yield case, folder / f"{k}.int8.onnx"


def _in_a_process(folder: Path, cap: str) -> dict[str, Any]:
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": cap} if cap else dict(os.environ)
    command = [sys.executable, __file__, str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _measured(folder: Path) -> dict[str, Any]:
    """Measure the INT8 files in a folder with this process's instructions."""
    models = {}
    for case, int8 in _files(folder):
        engines = {name: _engine(case, int8, name) for name in BACKENDS}
        models[case.name] = {"exact": _points(case, open_exact(int8, case.spec)), "engines": engines}
        print(f"{case.name}: {json.dumps(models[case.name])}", file=sys.stderr, flush=True)
    return {"instructions": instructions.kind(this_host()), "models": models}


def _engine(case: Case, int8: Path, name: str) -> dict[str, Any]:
    """Measure the AP of the engine built here, and the exact AP of the weights that it was built with."""
    backend, spec = get_backend(name), read_spec(int8)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "plan"
        folder.mkdir()
        heads, facts = next(iter(heads_to_try(int8, spec, backend, Path(scratch))))
        plan = backend.build(heads, spec, folder, BuildOptions(), lambda done, total: None)
        entry = PlanEntry(name, plan.version, plan.precision, "", plan.files, int8.name, "", {}, facts)
        ap = _points(case, backend.load(folder, entry, spec))
        return {"ap": ap, "weight_bits": facts["weight_bits"], "of its weights": _points(case, open_exact(heads, spec))}


def _points(case: Case, engine: Engine) -> float:
    with closing(engine):
        heads: Heads = engine
        return case.points(heads)


def _beside(kind: str, model: str, row: dict[str, Any]) -> str:
    engines = ", ".join(f"{name} {one['ap']:.2f}" for name, one in row["engines"].items())
    return f"{model} ({kind}): exact {row['exact']:.2f}, {engines}"


if __name__ == "__main__":
    print(json.dumps(_measured(Path(sys.argv[1]))))
