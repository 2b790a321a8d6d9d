"""The quantiser: makes INT8 heads of recipes, from one pass over the calibration images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ssd_edge.calibration.corrections.bias import corrected, output_shifts
from ssd_edge.calibration.corrections.equalise import equalise
from ssd_edge.calibration.corrections.rounding import can_learn, learned, windows
from ssd_edge.calibration.job import Job
from ssd_edge.calibration.network.divergence import Reference
from ssd_edge.calibration.network.network import Network, prepare
from ssd_edge.calibration.network.placement import place
from ssd_edge.calibration.network.policy import Policy, choose
from ssd_edge.calibration.network.qdq import Int8Weight, insert_qdq, quantised_weights
from ssd_edge.calibration.network.quantise import Int8Heads, quantise
from ssd_edge.calibration.recipe import Gain, Recipe, Sensitivity
from ssd_edge.calibration.scales.find import check_number, observe_images, scales_of
from ssd_edge.calibration.scales.methods import DEFAULT_METHOD
from ssd_edge.calibration.scales.observe import Observations

SAMPLE = 32
"""Number of images that distances from FP32, channel ranges and bias corrections are measured on."""


class Quantiser:
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

    def quick(self, number: int) -> Quantiser:
        """Return a quantiser that measures distances on the first ``number`` images only."""
        few = Reference(self.network.model, self._reference.spec, self._reference.images[:number])
        quick = Quantiser(self.network, self.policy, self.seen, few, self.equalisation)
        quick._shifts, quick._learned = self._shifts, self._learned  # corrections still come from all images
        return quick

    def write(self, recipe: Recipe, output: Path, contract: str = "none") -> Int8Heads:
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


def open_quantiser(job: Job, *, everything: bool = False) -> Quantiser:
    """Read FP32 heads, equalise them if that brings INT8 closer, and observe them.

    Args:
        job: the heads and the images.
        everything: whether to observe every activation: for recipes that leave more in float, and calibration caches.

    Raises:
        CalibrationError: the heads, the images or the policy cannot be used, an activation is not finite, or the state
            cannot be written.
    """
    network = prepare(job.heads, job.policy)
    sample = list(islice(job.images(), SAMPLE))
    reference = Reference(network.model, job.spec, sample)
    gain = None
    if job.equalisation and sample:
        job.progress(0, 1, "equalising")
        equal = equalise(network, sample)
        gain = Gain(_distance(network, reference), _distance(equal, reference))
        network = equal if gain.closer else network
    seen = observe_images(
        network, job.images(), number=job.num_images, everything=everything, state=job.state, progress=job.progress
    )
    check_number(seen, job.least)
    return Quantiser(network, job.policy, seen, reference, gain)


def _distance(network: Network, reference: Reference) -> float:
    """Measure the distance of a network's INT8 heads from FP32, with scales of the reference's own images."""
    scales = scales_of(network, observe_images(network, reference.images), DEFAULT_METHOD)
    weights = quantised_weights(network.model, network.placement)
    return reference.divergence(insert_qdq(network.model, network.placement, scales, weights))
