"""What is calibrated, and with what; and the bench for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ssd_edge.calibration.calibrate import Images, Network, check_number, observe_images, prepare, scales_of
from ssd_edge.calibration.corrections.equalise import equalise
from ssd_edge.calibration.network.divergence import Reference
from ssd_edge.calibration.network.policy import DEFAULT_POLICY, Policy
from ssd_edge.calibration.network.qdq import insert_qdq, quantised_weights
from ssd_edge.calibration.recipe import SAMPLE, Bench, Gain
from ssd_edge.calibration.scales.calibrators import DEFAULT_METHOD
from ssd_edge.calibration.scales.state import StateFile
from ssd_edge.spec import ModelSpec


@dataclass(frozen=True)
class Job:
    """What is calibrated, with which images, and what may be done to it.

    Attributes:
        heads: the FP32 ONNX file.
        read: begins a new pass over the calibration images.
        spec: of the heads.
        policy: which convolutions stay in float in any case.
        equalisation: whether channels may be brought closer first, see ``equalise``.
        bias_correction: whether biases may make up for what quantisation adds, see ``bias``.
        learned_rounding: whether weights may be rounded as their outputs ask for, see ``rounding``; takes up to a
            minute for each twenty convolutions.
        least: fewest images to be content with.
        state: where to keep what was observed, so that an interrupted calibration can go on; removed at the end.
        progress: called after each image of the pass with the number of images done.
        tell: called with what else is being done, and how far it is.
    """

    heads: Path
    read: Callable[[], Images]
    spec: ModelSpec
    policy: Policy = DEFAULT_POLICY
    equalisation: bool = True
    bias_correction: bool = True
    learned_rounding: bool = False
    least: int = 1
    state: StateFile | None = None
    progress: Callable[[int], None] | None = None
    tell: Callable[[str, int, int], None] = lambda what, done, total: None


def open_bench(job: Job, *, everything: bool = False) -> Bench:
    """Read FP32 heads, equalise them where that brings INT8 closer, and observe them.

    Args:
        job: the heads and the images.
        everything: whether to observe every activation: for recipes that leave more in float, and calibration caches.

    Raises:
        CalibrationError: the heads, the images or the policy cannot be used, an activation is not finite, or the state
            cannot be written.
    """
    network = prepare(job.heads, job.policy)
    sample = list(islice(job.read(), SAMPLE))
    reference = Reference(network.model, job.spec, sample)
    gain = None
    if job.equalisation and sample:
        job.tell("equalising", 0, 1)
        equal = equalise(network, sample)
        gain = Gain(_distance(network, reference), _distance(equal, reference))
        network = equal if gain.closer else network
    seen = observe_images(network, job.read(), everything=everything, state=job.state, progress=job.progress)
    check_number(seen, job.least)
    return Bench(network, job.policy, seen, reference, gain)


def _distance(network: Network, reference: Reference) -> float:
    """Of a network's INT8 heads from FP32, with scales of the reference's own images."""
    scales = scales_of(network, observe_images(network, reference.images), DEFAULT_METHOD)
    weights = quantised_weights(network.model, network.placement)
    return reference.divergence(insert_qdq(network.model, network.placement, scales, weights))
