"""Scales: the steps of int8 grids, of activations by histogram and of weights by channel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ssd_edge.calibration.scales.calibrators import LARGEST, METHODS
from ssd_edge.calibration.scales.histograms import Histogram
from ssd_edge.errors import CalibrationError


def check_method(method: str) -> None:
    """Raise CalibrationError where the method is not one of ``METHODS``."""
    if method not in METHODS:
        raise CalibrationError(f"the calibration method must be one of {', '.join(METHODS)}, but got {method!r}")


def find_scales(histograms: Mapping[str, Histogram], method: str) -> dict[str, float]:
    """The scale of each tensor: a float32 above zero, the step of its int8 grid.

    Raises:
        CalibrationError: the method is not one of ``METHODS``.
    """
    check_method(method)
    amax = np.asarray([METHODS[method](histogram) for histogram in histograms.values()], np.float32)
    return dict(zip(histograms, to_scale(amax).tolist(), strict=True))


def weight_scales(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Symmetric, per output channel, nothing cut: (O, …) float32 → (O,) float32."""
    return to_scale(np.abs(weights.reshape(len(weights), -1)).max(axis=1, initial=0.0))


def to_scale(amax: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Largest magnitudes → scales, never zero, NaN or infinite.

    Raises:
        ValueError: a magnitude is negative, NaN or infinite.
    """
    if not np.all(np.isfinite(amax) & (amax >= 0)):
        raise ValueError("magnitudes must be finite and not negative")
    # Of a tensor that is always 0 any scale is right, but not 0: it divides. Nor a denormal one: GPUs flush it to 0.
    scale = np.where(amax > 0, amax, np.float32(1)) / np.float32(LARGEST)
    return np.maximum(scale, np.finfo(np.float32).tiny).astype(np.float32)


def rounded(weights: npt.NDArray[np.float32], scales: npt.NDArray[np.float32]) -> npt.NDArray[np.int8]:
    """Weights (O, …) as steps of their channel's scale (O,), to the nearest: int8, −127 … 127."""
    steps = np.rint(weights / scales.reshape(-1, *[1] * (weights.ndim - 1)))
    return np.asarray(np.clip(steps, -LARGEST, LARGEST), np.int8)
