"""From images to scales: one pass of the FP32 network over them, then one of ``METHODS``."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ssd_edge.calibration.network.network import Network
from ssd_edge.calibration.scales.grid import find_scales
from ssd_edge.calibration.scales.observe import Observations, observe
from ssd_edge.calibration.scales.state import StateFile
from ssd_edge.errors import CalibrationError
from ssd_edge.graph.fp32 import activations, with_outputs
from ssd_edge.progress import Progress, no_progress

Images = Iterable[npt.NDArray[np.float32]]
"""(1, 3, H, W) float32 each, from ``ssd_edge.preprocess.preprocess``; read once, one at a time."""


def observe_images(
    network: Network,
    images: Images,
    *,
    number: int = 0,
    everything: bool = False,
    state: StateFile | None = None,
    progress: Progress = no_progress,
) -> Observations:
    """Collect histograms of the tensors that need a scale.

    Args:
        network: FP32 heads.
        images: see ``Images``.
        number: number of images, for ``progress``; 0 if it is not known.
        everything: whether to observe every activation, as a calibration cache for TensorRT needs.
        state: the file of what was observed, so that an interrupted calibration can go on.
        progress: called after each image.

    Raises:
        CalibrationError: the images cannot be used, an activation is not finite, or the state cannot be written.
    """
    needed = network.placement.observed
    tensors = tuple(dict.fromkeys((*needed, *activations(network.model)))) if everything else needed
    wider = with_outputs(network.model, tensors)
    seen = state.begin(wider, tensors) if state is not None else Observations.of(tensors)

    def each(seen: Observations) -> None:
        if state is not None:
            state.save(seen)
        progress(seen.num_images, number, "calibrating")

    observe(wider, seen, images, each)
    return seen


def check_number(seen: Observations, least: int) -> None:
    """Raise CalibrationError if fewer images than ``least`` could be used."""
    if seen.num_images < least:
        raise CalibrationError(f"calibration needs at least {least} images, but only {seen.num_images} could be used")


def scales_of(network: Network, seen: Observations, method: str) -> dict[str, float]:
    """Find the scale of each tensor that has a pair.

    Raises:
        CalibrationError: the method is not one of ``METHODS``.
    """
    placement = network.placement
    observed = find_scales({name: seen.histograms[name] for name in placement.observed}, method)
    return {name: observed[source] for name, source in placement.scale_of.items()}
