"""All faults by name, and the engine that runs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from faults import broker, camera, outputs, process, streams
from faults.row import Fault, Row

FAULTS: dict[str, Fault] = {**streams.FAULTS, **camera.FAULTS, **outputs.FAULTS, **broker.FAULTS, **process.FAULTS}


def run_faults(names: Sequence[str]) -> Iterator[Row]:
    """Make faults one after another, each with a fresh program."""
    with tempfile.TemporaryDirectory(prefix="faults-") as scratch:
        engine = make_engine(Path(scratch))
        for name in names:
            folder = Path(scratch) / name
            folder.mkdir()
            try:
                yield FAULTS[name](engine, folder)
            except (OSError, RuntimeError) as error:
                yield Row(name, wrong=[f"it could not be made: {error}"])


def make_engine(folder: Path) -> Path:
    """Build an engine of a tiny network, since the faults are those of what is around it."""
    from ssd_edge.engines.bundle.build import build_bundle
    from tests.models_for_tests import write_tiny

    engine = folder / "tiny.engine"
    build_bundle(write_tiny(folder / "tiny.onnx"), engine, "openvino")
    return engine
