"""INT8 heads as close to the FP32 ones as a method comes: with each correction that brings them closer, and no other.

How close is measured on some of the calibration images and needs no labels, see ``network.divergence``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ssd_edge.calibration.job import Job
from ssd_edge.calibration.outcome import Making, Outcome, finished
from ssd_edge.calibration.quantiser import open_quantiser
from ssd_edge.calibration.recipe import Corrections, Gain, Recipe
from ssd_edge.calibration.scales.grid import check_method
from ssd_edge.calibration.scales.methods import DEFAULT_METHOD


def calibrate_closest(job: Job, output: Path, *, method: str = DEFAULT_METHOD, everything: bool = False) -> Outcome:
    """Make an INT8 ONNX file of FP32 heads.

    Args:
        job: the heads, the images, and which corrections are tried.
        output: the file to write; it appears whole or not at all.
        method: a name of ``METHODS``.
        everything: whether to observe every activation, as a calibration cache for TensorRT needs.

    Raises:
        CalibrationError: the heads, the images, the method or the policy cannot be used, an activation is not finite,
            or a file cannot be written.
        SpecError: the heads carry a model spec that is not valid.
    """
    check_method(method)
    quantiser = open_quantiser(job, everything=everything)
    recipe, distance = Recipe(method, bias_correction=False), float("inf")
    gains: dict[str, Gain] = {}
    steps: list[tuple[str, Callable[[Recipe], Recipe]]] = []
    if job.bias_correction:
        steps.append(("bias_correction", lambda recipe: replace(recipe, bias_correction=True)))
    if job.learned_rounding:
        steps.append(("learned_rounding", lambda recipe: replace(recipe, learned_rounding=True)))
    for number, (name, step) in enumerate(steps):
        job.progress(number, len(steps), "correcting")
        without = quantiser.divergence(recipe) if number == 0 else distance
        gains[name] = Gain(without, quantiser.divergence(step(recipe)))
        recipe, distance = (step(recipe), gains[name].applied) if gains[name].closer else (recipe, without)
    file = quantiser.write(recipe, output)
    return finished(job, file, Making(recipe, quantiser, Corrections(quantiser.equalisation, **gains)))
