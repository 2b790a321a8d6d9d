"""Matching and MultiBox loss against a plain NumPy version in float64, on random images; gradients too.

python benchmarks/loss_equals_numpy.py     prints the comparison, as JSON
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from figure import Figure, in_a_process

GOAL = 1e-6
NUMBERS = {"56 default boxes": 1000, "ssdlite300_mobilenet_v2": 30}
"""Random images by model."""
BATCHES = 30
"""Random batches whose gradients are compared with finite differences."""


def compare() -> dict[str, Any]:
    """Return the largest relative differences of the loss, the images with other classes, and that of the gradient."""
    from ssd_edge.models.registry import make_spec
    from tests.helpers import small_spec
    from tests.training.cases import compared, gradients

    specs = (small_spec(), make_spec("ssdlite300_mobilenet_v2", ["a", "b", "c"]))
    largest, others = np.zeros(3), 0
    for spec, number in zip(specs, NUMBERS.values(), strict=True):
        for one in compared(spec, number):
            others += not np.array_equal(one.classes, one.expected.classes)
            ours, theirs = np.asarray(one.losses), np.asarray(one.expected_losses)
            largest = np.maximum(largest, np.abs(ours - theirs) / np.maximum(theirs, 1e-12))
    gradient = max(
        float(np.abs(computed - differences).max())
        for seed in range(BATCHES)
        for computed, differences in gradients(seed)
    )
    total, loc, conf = largest.tolist()
    return {
        "loss": total,
        "loc": loc,
        "conf": conf,
        "images with other classes": others,
        "images": NUMBERS,
        "gradient": gradient,
    }


def measure() -> Figure:
    """Run the comparison in another process, and return its result."""
    detail: dict[str, Any] = in_a_process(__file__)
    return Figure(
        "loss-equals-numpy",
        detail["loss"],
        f"largest relative difference of a loss, {sum(NUMBERS.values())} random images",
        "<= 1e-6, equal classes of all default boxes, gradients within 1e-6 of finite differences",
        detail["loss"] <= GOAL and not detail["images with other classes"] and detail["gradient"] <= GOAL,
        detail,
        f"the loc part {detail['loc']:.2g}, whose targets are float32, the conf part {detail['conf']:.2g}; "
        f"{detail['images with other classes']} images with other classes; gradients of {BATCHES} batches differ by "
        f"{detail['gradient']:.2g} at most",
    )


if __name__ == "__main__":
    print(json.dumps(compare()))
