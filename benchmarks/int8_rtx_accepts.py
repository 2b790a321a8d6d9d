"""Q/DQ files of this project, built by TensorRT-RTX's own builder for compute capabilities 8.6, 8.9 and 12.0.

For each file, the number of convolutions that calibration made INT8 is compared with the number that the plan itself
lists as INT8. This needs no GPU, and no GPU ran a plan.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from building import SSDLITE300
from figure import LABELS, Figure, real_data

from ssd_edge.calibration.closest import calibrate_closest
from ssd_edge.calibration.job import Job
from ssd_edge.calibration.network.policy import RTX_LEAST_PRODUCTS, Policy
from ssd_edge.calibration.scales.methods import METHODS
from ssd_edge.data.images import preprocessed, sample_images
from ssd_edge.engines.nvidia.child import ask_child
from ssd_edge.engines.tensorrt_rtx.request import Request
from ssd_edge.errors import SsdEdgeError
from ssd_edge.export import export_onnx
from ssd_edge.importing import import_onnx
from ssd_edge.models.catalogue import MODELS
from ssd_edge.models.registry import make_network, make_spec
from ssd_edge.progress import no_progress
from ssd_edge.spec import ModelSpec
from ssd_edge.training.checkpoints import load_checkpoint

CAPABILITIES = ("8.6", "8.9", "12.0")
SPECS = Path(__file__).parent / "specs"
IMAGES = 8  # calibration images; the scales do not change the result

POLICIES = {
    "the default": Policy(),
    "depthwise too": Policy(depthwise=True),
    f"{RTX_LEAST_PRODUCTS} products and more": Policy(least_products=RTX_LEAST_PRODUCTS),
    "but both ends": Policy(float_ends="both"),
}


@dataclass(frozen=True)
class File:
    """One Q/DQ file and its plan.

    Attributes:
        name: name of the model, and how it was made INT8.
        intended: number of convolutions that calibration made INT8.
        in_plan: number of convolutions that are INT8 in the plan; None if there is no plan.
        plan: convolutions by precision, or why there is no plan.
    """

    name: str
    intended: int
    in_plan: int | None
    plan: str


def measure() -> Figure:
    """Count the files that were accepted with as many INT8 convolutions as intended."""
    with tempfile.TemporaryDirectory() as folder:
        files = list(_files(Path(folder)))
    right = [file for file in files if file.in_plan == file.intended]
    wrong = [f"{file.name}: {file.plan}" for file in files if file not in right]
    return Figure(
        "int8-rtx-accepts",
        len(right),
        f"of {len(files)} Q/DQ files accepted, INT8 convolutions as intended",
        "all of them",
        len(right) == len(files),
        {file.name: {"intended": file.intended, "in the plan": file.plan} for file in files},
        f"{sum(file.intended for file in files)} INT8 convolutions" + "".join(f"; {one}" for one in wrong),
    )


def _files(folder: Path) -> Iterator[File]:
    for model, write in _models().items():
        heads, int8 = folder / "heads.onnx", folder / "int8.onnx"
        spec = write(heads)

        def images(spec: ModelSpec = spec) -> Any:
            return preprocessed(sample_images(None, IMAGES), spec)

        plain = Job(heads, images, spec, equalisation=False, bias_correction=False)
        made: dict[str, Callable[[], int]] = {
            "corrected": lambda: calibrate_closest(Job(heads, images, spec), int8).file.num_quantised,  # noqa: B023
        }
        for name, policy in POLICIES.items():
            job = replace(plain, policy=policy)
            made[name] = lambda job=job: calibrate_closest(job, int8).file.num_quantised  # type: ignore[misc] # noqa: B023
        if model == "trained":
            for method in METHODS:
                made[method] = lambda method=method: calibrate_closest(plain, int8, method=method).file.num_quantised  # type: ignore[misc] # noqa: B023
        for name, make in made.items():
            yield _built(f"{model}, {name}", make(), int8)


def _built(name: str, intended: int, int8: Path) -> File:
    request = Request(str(int8), str(int8.with_suffix(".rtx")), "INT8", CAPABILITIES)
    try:
        facts = ask_child("ssd_edge.engines.tensorrt_rtx.compile", "TensorRT-RTX", request.to_json(), no_progress)
    except SsdEdgeError as error:
        return File(name, intended, None, str(error))
    counted = facts["convolutions"]
    int8_count = re.search(r"(\d+) INT8", counted)
    return File(name, intended, int(int8_count[1]) if int8_count else 0, counted)


def _models() -> dict[str, Callable[[Path], ModelSpec]]:
    """Return functions that write the FP32 heads of a model: the untrained ones, a trained one, and imported ones."""

    def untrained(model: str) -> Callable[[Path], ModelSpec]:
        return lambda heads: export_onnx(make_network(make_spec(model, LABELS)), heads)

    def imported(source: str, spec: str) -> Callable[[Path], ModelSpec]:
        return lambda heads: import_onnx(real_data(f"weights/{source}"), SPECS / spec, heads)

    return {
        **{model: untrained(model) for model in MODELS},
        "trained": lambda heads: export_onnx(load_checkpoint(SSDLITE300), heads, SSDLITE300),
        "pedestrian": imported("pedestrian_ssdlite/pedestrian_300_raw.onnx", "pedestrian_ssdlite.json"),
        "UltraFace": imported("ultraface/version-RFB-320_without_postprocessing.onnx", "ultraface.json"),
    }
