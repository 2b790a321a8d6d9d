"""Memory and images/s of calibrating SSD300-VGG16, compared with ONNX Runtime's own calibrators in the same run.

Each calibrator runs in a separate process; its peak memory is Linux's VmHWM. The network is untrained and the images
are noise, since neither memory nor time depends on the values. This project serves all its methods with one pass. ONNX
Runtime's calibrators serve one method each and keep the network's activations for all images, so they get few images.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
from figure import Figure, peak_memory

MODEL = "ssd300_vgg16"
FEW, MANY = 50, 500
THEIRS = {"MinMax": 16, "Percentile": 8, "Entropy": 8}
LIMIT = 2048


def measure() -> Figure:
    """Measure the peak memory for MANY and for FEW images, and the images/s of each calibrator."""
    with tempfile.TemporaryDirectory() as folder:
        heads = Path(folder) / "heads.onnx"
        _export(heads)
        few, many = (_child("ours", heads, number) for number in (FEW, MANY))
        theirs = {name: _child(name, heads, number) for name, number in THEIRS.items()}
    fastest = max(one["images/s"] for one in theirs.values())
    peak = many["peak MiB"]
    return Figure(
        "int8-memory",
        peak,
        f"MiB at most, {MANY} images through SSD300-VGG16",
        f"<= {LIMIT}",
        peak <= LIMIT,
        {f"ours, {FEW} images": few, f"ours, {MANY} images": many}
        | {f"ONNX Runtime's {name}, {THEIRS[name]} images": one for name, one in theirs.items()},
        f"{FEW} images: {few['peak MiB']:.0f} MiB; {many['images/s']:.1f} images/s for all methods, ONNX Runtime's "
        f"calibrators {min(one['images/s'] for one in theirs.values()):.1f} to {fastest:.1f} for one",
    )


def _export(heads: Path) -> None:
    from ssd_edge.export import export_onnx
    from ssd_edge.models.registry import make_network, make_spec

    export_onnx(make_network(make_spec(MODEL, [f"class {k}" for k in range(20)])), heads)


def _child(kind: str, heads: Path, number: int) -> dict[str, Any]:
    command = [sys.executable, __file__, kind, str(heads), str(number)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _images(number: int) -> Iterator[npt.NDArray[np.float32]]:
    random = np.random.default_rng(0)
    for _ in range(number):
        yield random.normal(0, 1, (1, 3, 300, 300)).astype(np.float32)


def _ours(heads: Path, number: int) -> None:
    """Run everything that ``calibrate`` does, from reading to writing."""
    from ssd_edge.calibration.closest import calibrate_closest
    from ssd_edge.calibration.job import Job
    from ssd_edge.graph.heads import read_spec

    calibrate_closest(Job(heads, lambda: _images(number), read_spec(heads)), heads.with_suffix(".int8.onnx"))


def _theirs(name: str, heads: Path, number: int) -> None:
    """Find scales as quantize_static does: by one method, and only for tensors of convolutions, as here."""
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Reader that gives one image at a time."""

        def __init__(self) -> None:
            self._images = _images(number)

        def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
            image = next(self._images, None)
            return None if image is None else {"image": image}

    wider = str(heads.with_suffix(f".{name}.onnx"))
    options = {"symmetric": True}
    calibrator = create_calibrator(heads, ["Conv"], wider, getattr(CalibrationMethod, name), extra_options=options)
    calibrator.collect_data(Reader())
    calibrator.compute_data()


def main() -> None:
    """Measure one calibrator in this process; the arguments are its kind, the heads and the number of images."""
    kind, heads, number = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    began = perf_counter()
    if kind == "ours":
        _ours(heads, number)
    else:
        _theirs(kind, heads, number)
    seconds = perf_counter() - began
    print(json.dumps({"peak MiB": peak_memory() / 2**20, "seconds": seconds, "images/s": number / seconds}))


if __name__ == "__main__":
    main()
