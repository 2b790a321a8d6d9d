"""INT8 heads as close to the FP32 ones as a method comes: with each correction that brings them closer, and no other.

How close is measured on some of the calibration images and needs no labels, see ``divergence``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ssd_edge.calibration.job import Job, open_bench
from ssd_edge.calibration.recipe import Gain, Made, Recipe
from ssd_edge.calibration.scales.calibrators import DEFAULT_METHOD
from ssd_edge.calibration.scales.grid import check_method


@dataclass(frozen=True)
class Corrections:
    """What was tried beyond rounding to the nearest, and what it brought; None of what was not asked for.

    Attributes:
        equalisation: see ``equalise``.
        bias_correction: see ``bias``.
        learned_rounding: see ``rounding``.
    """

    equalisation: Gain | None = None
    bias_correction: Gain | None = None
    learned_rounding: Gain | None = None

    @property
    def used(self) -> tuple[str, ...]:
        """Names of those that brought the heads closer."""
        return tuple(name for name, gain in vars(self).items() if gain is not None and gain.closer)

    def to_json(self) -> dict[str, Any]:
        """As plain values for ``json.dumps``."""
        return {**asdict(self), "used": list(self.used)}


def calibrate_closest(
    job: Job, output: Path, *, method: str = DEFAULT_METHOD, everything: bool = False
) -> tuple[Made, Corrections]:
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
    bench = open_bench(job, everything=everything)
    recipe, distance = Recipe(method, bias_correction=False), float("inf")
    gains: dict[str, Gain] = {}
    steps: list[tuple[str, Callable[[Recipe], Recipe]]] = []
    if job.bias_correction:
        steps.append(("bias_correction", lambda recipe: replace(recipe, bias_correction=True)))
    if job.learned_rounding:
        steps.append(("learned_rounding", lambda recipe: replace(recipe, learned_rounding=True)))
    for number, (name, step) in enumerate(steps):
        job.tell("correcting", number, len(steps))
        without = bench.divergence(recipe) if number == 0 else distance
        gains[name] = Gain(without, bench.divergence(step(recipe)))
        recipe, distance = (step(recipe), gains[name].applied) if gains[name].closer else (recipe, without)
    result = bench.write(recipe, output)
    if job.state is not None:
        job.state.remove()
    return Made(result, recipe, bench), Corrections(bench.equalisation, **gains)
