"""Sizes, layers and memory of RTX bundles for compute capabilities 8.6, 8.9 and 12.0, built here by NVIDIA's compiler.

Nothing here was run on a GPU, so there are no speeds. Networks are untrained, since a plan's size, layers and memory do
not depend on the weights.

python benchmarks/rtx_table.py     prints the table of docs/engines.md, in Markdown
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from figure import LABELS, Figure

from ssd_edge.calibration.closest import calibrate_closest
from ssd_edge.calibration.job import Job
from ssd_edge.calibration.network.policy import RTX_LEAST_PRODUCTS, Policy
from ssd_edge.data.images import preprocessed, sample_images
from ssd_edge.engines.base import BuildOptions
from ssd_edge.engines.bundle.build import build_bundle
from ssd_edge.export import export_onnx
from ssd_edge.models.registry import make_network, make_spec

SSD300, SSDLITE = "ssd300_vgg16", "ssdlite300_mobilenet_v2"
CAPABILITIES = ("8.6", "8.9", "12.0")
IMAGES = 4  # calibration images; the scales do not change the result
GOAL = 0.30
PLACEMENTS = {
    "INT8": Policy(least_products=RTX_LEAST_PRODUCTS),
    "INT8, all but depthwise": Policy(),
    "INT8, all": Policy(depthwise=True),
}


@dataclass(frozen=True)
class Row:
    """One plan.

    Attributes:
        model: a name of ``MODELS``.
        precision: the precision asked for, and which convolutions are INT8.
        seconds: seconds that NVIDIA's compiler took.
        mebibytes: size of the plan.
        convolutions: number of convolutions by precision, read from the plan.
        kernels: number of kernels whose source is in the plan, to be compiled on the device.
        device_mebibytes: memory of the weights and activations of one context, from the compiler's log.
    """

    model: str
    precision: str
    seconds: float
    mebibytes: float
    convolutions: str
    kernels: int
    device_mebibytes: float


def measure() -> Figure:
    """Return the size of SSD300's INT8 plan as a share of its FP32 plan."""
    plans = list(rows())
    sizes = {(row.model, row.precision): row.mebibytes for row in plans}
    share = sizes[SSD300, "INT8"] / sizes[SSD300, "FP32"]
    lite = sizes[SSDLITE, "INT8"] / sizes[SSDLITE, "FP32"]
    all_read = not any("unread" in row.convolutions for row in plans)
    beside = (
        f"SSDLite: {lite:.2f}; in MiB, FP32, FP16, INT8: "
        + "; ".join(
            f"{name} " + ", ".join(f"{sizes[name, precision]:.1f}" for precision in ("FP32", "FP16", "INT8"))
            for name in (SSD300, SSDLITE)
        )
        + f"; SSDLite with all convolutions in INT8 {sizes[SSDLITE, 'INT8, all']:.1f}"
    )
    goal = f"SSD300 ≤ {GOAL:.2f}, SSDLite ≤ 1, each convolution of the precision asked for"
    met = share <= GOAL and lite <= 1 and all_read
    unit = "of FP32's size is an INT8 plan of SSD300 for 8.6, 8.9 and 12.0"
    return Figure("rtx-table", share, unit, goal, met, {"rows": [asdict(row) for row in plans]}, beside)


def rows() -> Iterator[Row]:
    """Build both models in each precision, and SSDLite in the other placements of INT8 too."""
    with tempfile.TemporaryDirectory() as scratch:
        for model in (SSD300, SSDLITE):
            heads = Path(scratch) / f"{model}.onnx"
            with torch.random.fork_rng():
                torch.manual_seed(0)
                spec = export_onnx(make_network(make_spec(model, LABELS)), heads)
            for precision in ("FP32", "FP16"):
                yield _row(model, precision, heads, precision)
            for name, policy in PLACEMENTS.items():
                if model == SSDLITE or name == "INT8":
                    int8 = heads.with_suffix(".int8.onnx")
                    images = list(sample_images(None, IMAGES))
                    job = Job(heads, lambda: preprocessed(images, spec), spec, policy, False, False)  # noqa: B023
                    calibrate_closest(job, int8)
                    yield _row(model, name, int8, "INT8")


def _row(model: str, name: str, heads: Path, precision: str) -> Row:
    bundle = heads.with_suffix(".engine")
    options = BuildOptions(precision, CAPABILITIES)
    (entry,) = build_bundle(heads, bundle, "tensorrt-rtx", options=options).plans
    plan = (bundle / entry.files[0]).read_bytes()
    return Row(
        model,
        name,
        float(entry.facts["build_seconds"]),
        len(plan) / 2**20,
        entry.facts["convolutions"],
        len(re.findall(rb'extern "C" __global__', plan)),
        sum(int(entry.facts[key]) for key in ("weight_bytes", "activation_bytes")) / 2**20,
    )


def table() -> str:
    """Return the table in Markdown."""
    heads = ("model", "precision", "build, s", "plan, MiB", "convolutions", "kernels in source", "device memory, MiB")
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows():
        lines.append(
            f"| `{row.model}` | {row.precision} | {row.seconds:.1f} | {row.mebibytes:.1f} | {row.convolutions} "
            f"| {row.kernels} | {row.device_mebibytes:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
