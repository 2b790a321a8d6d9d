"""A recipe for INT8 heads, and the bench that makes heads of recipes from one pass over the calibration images."""

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
"""Images that distances from FP32 are measured on, and from which channel ranges and biases come."""


@dataclass(frozen=True)
class Recipe:
    """One way to INT8 heads.

    Attributes:
        method: a name of ``METHODS``.
        bias_correction: whether biases make up for what quantisation adds on average.
        learned_rounding: whether weights go up or down as their outputs ask for, not to the nearest.
        in_float: names of convolutions left in float, beside those that the policy leaves.
    """

    method: str = DEFAULT_METHOD
    bias_correction: bool = True
    learned_rounding: bool = False
    in_float: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gain:
    """What a correction brings: distances of INT8 heads from FP32, see ``divergence``.

    Attributes:
        without: the distance without it.
        applied: the distance with it.
    """

    without: float
    applied: float

    @property
    def closer(self) -> bool:
        """Whether it brings the heads closer."""
        return self.applied < self.without


@dataclass(frozen=True)
class Sensitivity:
    """What a convolution contributes to the distance from FP32; see ``divergence``.

    Attributes:
        alone: the distance where it alone is INT8.
        without: the distance where it alone, of those that are INT8, is in float.
    """

    alone: float
    without: float


class Bench:
    """Makes INT8 heads of recipes, from one pass over the calibration images.

    Args:
        network: FP32, as it was observed: equalised or not.
        policy: what stays in float in any case; that of the network.
        seen: observations of every tensor that a recipe may ask a scale of.
        reference: of the same network, on some of the calibration images.
        equalisation: what that brought, for the provenance of what is written; None where it was not asked for.
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
        """From FP32, on the images."""
        network, scales, weights = self._prepared(recipe)
        return self._reference.divergence(insert_qdq(network.model, network.placement, scales, weights))

    def sensitivity(self, recipe: Recipe, convolution: str) -> Sensitivity:
        """Of one convolution, around a recipe."""
        others = tuple(name for name in self.candidates if name != convolution)
        return Sensitivity(
            self.divergence(replace(recipe, in_float=others)),
            self.divergence(replace(recipe, in_float=(*recipe.in_float, convolution))),
        )

    def quick(self, number: int) -> Bench:
        """The same with distances of the first ``number`` images only."""
        few = Reference(self.network.model, self._reference.spec, self._reference.images[:number])
        bench = Bench(self.network, self.policy, self.seen, few, self.equalisation)
        bench._shifts, bench._learned = self._shifts, self._learned  # what recipes are made of stays the same
        return bench

    def write(self, recipe: Recipe, output: Path, contract: str = "none") -> CalibrationResult:
        """The INT8 file of a recipe, with what it was made by, and the contract it keeps, in its provenance.

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
        """Network, scales and weights of a recipe.

        Learned rounding and biases look at each convolution by itself, so that those of all serve any choice of them.
        """
        whole = self._weights(recipe)
        network = self._without(recipe.in_float)
        scales = scales_of(network, self.seen, recipe.method)
        chosen = {convolution.name: convolution.weight for convolution in network.placement.convolutions}
        if recipe.bias_correction:
            key = recipe.method, recipe.learned_rounding
            if key not in self._shifts:
                of_whole = scales_of(self.network, self.seen, recipe.method)
                self._shifts[key] = output_shifts(self.network, of_whole, whole, self._reference.images)
            shifts = self._shifts[key]
            network = corrected(network, {name: shift for name, shift in shifts.items() if name in chosen})
        return network, scales, {weight: whole[weight] for weight in chosen.values()}

    def _weights(self, recipe: Recipe) -> dict[str, Int8Weight]:
        """Of all convolutions that may be INT8."""
        nearest = quantised_weights(self.network.model, self.network.placement)
        if not recipe.learned_rounding:
            return nearest
        if recipe.method not in self._learned:
            scales = scales_of(self.network, self.seen, recipe.method)
            seen = windows(self.network, can_learn(self.network), self._reference.images)
            self._learned[recipe.method] = learned(self.network, scales, nearest, seen)
        return self._learned[recipe.method]

    def _without(self, in_float: tuple[str, ...]) -> Network:
        """The network with these in float too."""
        policy = replace(self.policy, skip=(*self.policy.skip, *in_float))
        model = self.network.model
        return replace(self.network, placement=place(model, choose(model, policy)))


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


@dataclass(frozen=True)
class Made:
    """INT8 heads, and what they were made with.

    Attributes:
        result: the file.
        recipe: by which it was made.
        bench: that made it, and can make others.
    """

    result: CalibrationResult
    recipe: Recipe
    bench: Bench
