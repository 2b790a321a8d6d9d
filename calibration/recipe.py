"""Recipes for INT8 heads, and the bench that makes heads from them after one pass over the calibration images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ssd_edge.calibration.calibrate import (
    CalibrationResult,
    Network,
    quantise,
    scales_of,
)
from ssd_edge.calibration.corrections.bias import corrected, output_shifts
from ssd_edge.calibration.corrections.rounding import can_learn, learned, windows
from ssd_edge.calibration.network.divergence import Reference
from ssd_edge.calibration.network.placement import place
from ssd_edge.calibration.network.policy import Policy, choose
from ssd_edge.calibration.network.qdq import Int8Weight, insert_qdq, quantised_weights
from ssd_edge.calibration.scales.calibrators import DEFAULT_METHOD
from ssd_edge.calibration.scales.observe import Observations

SAMPLE = 32
"""Number of images that distances from FP32, channel ranges and bias corrections are measured on."""


@dataclass(frozen=True)
class Recipe:
    """One way to make INT8 heads.

    Attributes:
        method: the calibration method, a name of ``METHODS``.
        bias_correction: whether biases make up for the mean error of quantisation.
        learned_rounding: whether weights are rounded up or down to suit their convolution's output, not to the nearest.
        in_float: names of convolutions left in float, in addition to those that the policy leaves.
    """

    method: str = DEFAULT_METHOD
    bias_correction: bool = True
    learned_rounding: bool = False
    in_float: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gain:
    """The gain of a correction: distances of INT8 heads from FP32, see ``divergence``.

    Attributes:
        without: the distance without the correction.
        applied: the distance with it.
    """

    without: float
    applied: float

    @property
    def closer(self) -> bool:
        """Whether the correction brings the heads closer to FP32."""
        return self.applied < self.without


@dataclass(frozen=True)
class Sensitivity:
    """The contribution of a convolution to the distance from FP32, see ``divergence``.

    Attributes:
        alone: the distance if only this convolution is INT8.
        without: the distance if this convolution goes back to float and all others stay as they are.
    """

    alone: float
    without: float


class Bench:
    """Makes INT8 heads from recipes, after one pass over the calibration images.

    Args:
        network: the FP32 network that was observed, equalised or not.
        policy: the policy of the network: what stays in float in any case.
        seen: observations of every tensor for which a recipe may need a scale.
        reference: outputs of the same network on some of the calibration images.
        equalisation: the gain of equalisation, for the provenance of written files; None if it was not asked for.
    """

    def __init__(
        self,
        network: Network,
        policy: Policy,
        seen: Observations,
        reference: Reference,
        equalisation: Gain | None = None,
    ) -> None:
        self.network, self.policy, self.seen, self.equalisation = network, policy, seen, equalisation
        self._reference = reference
        self._shifts: dict[tuple[str, bool], Mapping[str, npt.NDArray[np.float64]]] = {}
        self._learned: dict[str, dict[str, Int8Weight]] = {}
        self.candidates = tuple(convolution.name for convolution in self.network.placement.convolutions)

    def divergence(self, recipe: Recipe) -> float:
        """Return the distance of a recipe's heads from FP32 on the reference's images."""
        network, scales, weights = self._prepared(recipe)
        return self._reference.divergence(insert_qdq(network.model, network.placement, scales, weights))

    def sensitivity(self, recipe: Recipe, convolution: str) -> Sensitivity:
        """Measure the sensitivity of one convolution, given a recipe for the others."""
        others = tuple(name for name in self.candidates if name != convolution)
        return Sensitivity(
            self.divergence(replace(recipe, in_float=others)),
            self.divergence(replace(recipe, in_float=(*recipe.in_float, convolution))),
        )

    def quick(self, number: int) -> Bench:
        """Return a bench that measures distances on the first ``number`` images only."""
        few = Reference(self.network.model, self._reference.spec, self._reference.images[:number])
        bench = Bench(self.network, self.policy, self.seen, few, self.equalisation)
        bench._shifts, bench._learned = self._shifts, self._learned  # corrections still come from all images
        return bench

    def write(self, recipe: Recipe, output: Path, contract: str = "none") -> CalibrationResult:
        """Write the INT8 file of a recipe; its provenance records the recipe and the contract that the file keeps.

        Raises:
            CalibrationError: the file cannot be written.
        """
        network, scales, weights = self._prepared(recipe)
        return quantise(
            network,
            scales,
            output,
            weights=weights,
            seen=self.seen,
            calibration_method=recipe.method,
            equalisation=_yes(self.equalisation is not None and self.equalisation.closer),
            bias_correction=_yes(recipe.bias_correction),
            learned_rounding=_yes(recipe.learned_rounding),
            calibration_images=str(self.seen.num_images),
            calibration_images_sha256=self.seen.image_set_sha256,
            contract=contract,
        )

    def _prepared(self, recipe: Recipe) -> tuple[Network, dict[str, float], dict[str, Int8Weight]]:
        """Return the network, scales and weights of a recipe.

        Learned rounding and bias correction treat each convolution by itself, so both are computed once for all
        convolutions, and any subset of them can use the results.
        """
        all_weights = self._weights(recipe)
        network = self._without(recipe.in_float)
        scales = scales_of(network, self.seen, recipe.method)
        chosen = {convolution.name: convolution.weight for convolution in network.placement.convolutions}
        if recipe.bias_correction:
            key = recipe.method, recipe.learned_rounding
            if key not in self._shifts:
                all_scales = scales_of(self.network, self.seen, recipe.method)
                self._shifts[key] = output_shifts(self.network, all_scales, all_weights, self._reference.images)
            shifts = self._shifts[key]
            network = corrected(network, {name: shift for name, shift in shifts.items() if name in chosen})
        return network, scales, {weight: all_weights[weight] for weight in chosen.values()}

    def _weights(self, recipe: Recipe) -> dict[str, Int8Weight]:
        """Return the quantised weights of all convolutions that may be INT8."""
        nearest = quantised_weights(self.network.model, self.network.placement)
        if not recipe.learned_rounding:
            return nearest
        if recipe.method not in self._learned:
            scales = scales_of(self.network, self.seen, recipe.method)
            seen = windows(self.network, can_learn(self.network), self._reference.images)
            self._learned[recipe.method] = learned(self.network, scales, nearest, seen)
        return self._learned[recipe.method]

    def _without(self, in_float: tuple[str, ...]) -> Network:
        """Return the network with these convolutions in float too."""
        policy = replace(self.policy, skip=(*self.policy.skip, *in_float))
        model = self.network.model
        return replace(self.network, placement=place(model, choose(model, policy)))


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


@dataclass(frozen=True)
class Made:
    """INT8 heads, with the recipe and the bench that made them.

    Attributes:
        result: the written file.
        recipe: the recipe that it was made by.
        bench: the bench that made it, and can make others.
    """

    result: CalibrationResult
    recipe: Recipe
    bench: Bench
