"""Scales: the step sizes of int8 grids, for activations from histograms and for weights by channel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ssd_edge.calibration.scales.calibrators import LARGEST
from ssd_edge.calibration.scales.histograms import Histogram
from ssd_edge.calibration.scales.methods import METHODS
from ssd_edge.errors import CalibrationError


def check_method(method: str) -> None:
    """Raise CalibrationError if the method is not one of ``METHODS``."""
    if method not in METHODS:
        raise CalibrationError(f"the calibration method must be one of {', '.join(METHODS)}, but got {method!r}")


def find_scales(histograms: Mapping[str, Histogram], method: str) -> dict[str, float]:
    """Compute the scale of each tensor: a float32 above zero, the step size of its int8 grid.

    Raises:
        CalibrationError: the method is not one of ``METHODS``.
    """
    check_method(method)
    amax = np.asarray([METHODS[method].load()(histogram) for histogram in histograms.values()], np.float32)
    return dict(zip(histograms, to_scale(amax).tolist(), strict=True))


def weight_scales(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Compute a weight's scales by output channel, with nothing clipped: (O, …) float32 → (O,) float32."""
    return to_scale(np.abs(weights.reshape(len(weights), -1)).max(axis=1, initial=0.0))


def to_scale(amax: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Turn largest magnitudes into scales, which are never zero, NaN or infinite.

    Raises:
        ValueError: a magnitude is negative, NaN or infinite.
    """
    if not np.all(np.isfinite(amax) & (amax >= 0)):
        raise ValueError("magnitudes must be finite and not negative")
    # If a tensor is always 0, any scale is right except 0, since values are divided by it, and except a denormal one,
    # since GPUs flush it to 0.
    scale = np.where(amax > 0, amax, np.float32(1)) / np.float32(LARGEST)
    return np.maximum(scale, np.finfo(np.float32).tiny).astype(np.float32)


def rounded(weights: npt.NDArray[np.float32], scales: npt.NDArray[np.float32]) -> npt.NDArray[np.int8]:
    """Round weights (O, …) to the nearest step of their channel's scale (O,): int8, −127 … 127."""
    steps = np.rint(weights / scales.reshape(-1, *[1] * (weights.ndim - 1)))
    return np.asarray(np.clip(steps, -LARGEST, LARGEST), np.int8)
