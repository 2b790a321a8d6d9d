"""Planted faults in engines: how many the model's proof catches, and how many seconds the check adds to a build.

The model is an SSDLite trained on BCCD, FP32 and INT8. Each fault is planted into correctly built engines of each
backend, and each of build-engine, verify and run --verify has to catch it. One engine saturates for real: OpenVINO with
8-bit weights, in a process that is limited to AVX2.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from types import SimpleNamespace
from typing import Any, cast

from building import SSDLITE300
from figure import Figure, real_data

from ssd_edge.calibration.closest import calibrate_closest
from ssd_edge.calibration.job import Job
from ssd_edge.choices import Choice
from ssd_edge.data.images import preprocessed, sample_images
from ssd_edge.engines import backends
from ssd_edge.engines.backends import get_backend
from ssd_edge.engines.base import Backend
from ssd_edge.engines.bundle.build import build_bundle
from ssd_edge.engines.bundle.load import load_bundle
from ssd_edge.engines.cpu import weight_bits
from ssd_edge.engines.opening import proof_for
from ssd_edge.engines.proof.prove import keep_proof, prove
from ssd_edge.engines.proof.verify import verify_bundle
from ssd_edge.errors import DisagreementError
from ssd_edge.export import export_onnx
from ssd_edge.graph.heads import add_proof
from ssd_edge.spec import ModelSpec
from ssd_edge.training.checkpoints import load_checkpoint

BACKENDS = ("openvino", "onnxruntime")
MOST_SECONDS = 5.0


def _moved(spec: ModelSpec) -> ModelSpec:
    """Shift the default boxes of the first level right and down: by up to a quarter of a cell, more with each cell."""
    first, *others = spec.levels
    step = (first.step[0] * (1 + 0.25 / first.grid[0]), first.step[1] * (1 + 0.25 / first.grid[1]))
    return replace(spec, levels=(replace(first, step=step), *others))


def _wider(spec: ModelSpec) -> ModelSpec:
    """Make the boxes of the second level a third too wide."""
    first, second, *others = spec.levels
    sizes = tuple((1.33 * width, height) for width, height in second.sizes)
    return replace(spec, levels=(first, replace(second, sizes=sizes), *others))


FAULTS: dict[str, Callable[[ModelSpec], ModelSpec]] = {
    "swapped channels": lambda spec: replace(spec, channel_order="bgr" if spec.channel_order == "rgb" else "rgb"),
    "shifted default boxes": _moved,
    "default boxes of another width": _wider,
    "swapped variances": lambda spec: replace(spec, variances=spec.variances[::-1]),
    "variances left out": lambda spec: replace(spec, variances=(1.0, 1.0)),
    "another mean": lambda spec: replace(spec, mean=(0.0, 0.0, 0.0)),
    "sigmoid for softmax": lambda spec: replace(spec, score_function="sigmoid"),
    "no NMS": lambda spec: replace(spec, nms_iou=1.0),
}
"""Planted faults: each changes the spec that an engine uses."""


def measure() -> Figure:
    """Count the planted faults that are caught, over all commands that check."""
    data = real_data("data/bccd")
    caught: dict[str, list[str]] = {}
    missed: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        heads = _heads(folder, data)
        for precision, onnx in heads.items():
            for backend in BACKENDS:
                for name, change in FAULTS.items():
                    for who, is_caught in _checks(folder, onnx, backend, change):
                        (caught.setdefault(who, []) if is_caught else missed).append(
                            f"{name}, {backend} {precision}, {who}"
                        )
        saturating = _saturating(heads["INT8"])
        (caught.setdefault("build-engine", []) if saturating else missed).append("a saturating engine, openvino INT8")
        seconds = {precision: _added(folder, onnx) for precision, onnx in heads.items()}
    number = sum(map(len, caught.values()))
    planted, slowest = number + len(missed), max(seconds.values())
    return Figure(
        "engine-proof",
        number,
        f"of {planted} planted faults caught",
        f"all, and <= {MOST_SECONDS:g} s added to a build",
        not missed and slowest <= MOST_SECONDS,
        {"missed": missed, "caught by": {who: len(names) for who, names in caught.items()}, "seconds added": seconds},
        f"{slowest:.2f} s added to the build of an SSDLite; caught by "
        + ", ".join(f"{who} {len(names)}" for who, names in caught.items()),
    )


def _heads(folder: Path, data: Path) -> dict[str, Path]:
    """Write FP32 and INT8 heads with their proofs, and return their paths by precision."""
    fp32, int8 = folder / "model.onnx", folder / "model.int8.onnx"
    network = load_checkpoint(SSDLITE300)
    spec = export_onnx(network.eval(), fp32, SSDLITE300)
    images = list(sample_images(data, 64))
    calibrate_closest(Job(fp32, lambda: preprocessed(images, spec), spec), int8)
    for onnx in (fp32, int8):
        keep_proof(onnx, images)
    return {"FP32": fp32, "INT8": int8}


@contextmanager
def _planted(backend: str, change: Callable[[ModelSpec], ModelSpec]) -> Iterator[None]:
    """Make engines of a backend use the changed spec, inside the context."""
    right = get_backend(backend)

    def load(*arguments: Any) -> Any:
        engine = right.load(*arguments)
        engine.spec = change(engine.spec)
        return engine

    wrong = cast(Backend, SimpleNamespace(**{**vars(right), "load": load}))
    kept = backends.BACKENDS[backend]
    backends.BACKENDS[backend] = cast(Choice, SimpleNamespace(about="", load=lambda: wrong))
    try:
        yield
    finally:
        backends.BACKENDS[backend] = kept


def _checks(
    folder: Path, onnx: Path, backend: str, change: Callable[[ModelSpec], ModelSpec]
) -> Iterator[tuple[str, bool]]:
    """Yield each command that checks, and whether it catches the fault."""
    bundle = folder / "right.engine"
    build_bundle(onnx, bundle, backend)
    with _planted(backend, change):
        try:
            build_bundle(onnx, folder / "wrong.engine", backend)
            yield "build-engine", False
        except DisagreementError:
            yield "build-engine", True
        yield "verify", all(one.disagrees for one in verify_bundle(bundle))
        with closing(load_bundle(bundle)) as engine:
            try:
                prove(engine, proof_for(bundle, engine))
                yield "run --verify", False
            except DisagreementError:
                yield "run --verify", True


def _saturating(int8: Path) -> bool:
    """Whether a build with 8-bit weights is refused when OpenVINO may not use VNNI."""
    child = subprocess.run(
        [sys.executable, __file__, str(int8)],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
        capture_output=True,
        text=True,
        check=False,
    )
    return "does not find what its model's proof says" in child.stdout


def _added(folder: Path, onnx: Path) -> float:
    """Return the seconds that the proof adds to a build with OpenVINO: the difference of medians of three, in turns."""
    bare = folder / "bare.onnx"
    bare.write_bytes(onnx.read_bytes())
    add_proof(bare, None)
    took: dict[Path, list[float]] = {onnx: [], bare: []}
    for _ in range(3):
        for one, times in took.items():
            began = perf_counter()
            build_bundle(one, folder / "timed.engine", "openvino")
            times.append(perf_counter() - began)
    return median(took[onnx]) - median(took[bare])


def main() -> None:
    """Build with 8 bits on any processor, and print the error if there is one; ``_saturating`` starts this."""
    weight_bits.bits_to_try = lambda host: (8,)
    onnx = Path(sys.argv[1])
    try:
        build_bundle(onnx, onnx.with_name("saturating.engine"), "openvino")
    except DisagreementError as error:
        print(error)


if __name__ == "__main__":
    main()
