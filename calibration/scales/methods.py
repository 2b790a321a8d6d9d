"""The calibration methods by name. Each maps the histogram of an activation to the largest magnitude that is kept."""

from __future__ import annotations

from ssd_edge.choices import Choice

_HERE = "ssd_edge.calibration.scales.calibrators"

METHODS: dict[str, Choice] = {
    "percentile": Choice("clips at most the largest 0.01 % of the values", f"{_HERE}:percentile"),
    "mse": Choice("smallest mean square error", f"{_HERE}:mse"),
    "entropy": Choice("smallest KL divergence", f"{_HERE}:entropy"),
    "min-max": Choice("clips nothing", f"{_HERE}:min_max"),
    "moving-average": Choice("range of an average image", f"{_HERE}:moving_average"),
}
"""The methods; each function takes a ``Histogram`` and returns a magnitude."""

DEFAULT_METHOD = "mse"
"""The method closest to FP32 over three models. The measure is the root mean square error of scores where FP32 gives
one above 0.1, calibrated on 128 photos and measured on others with ONNX Runtime. For BCCD's cells, UltraFace and the
pedestrian SSDLite: mse 0.009, 0.020, 0.034; moving average 0.011, 0.027, 0.036; percentile 0.012, 0.037, 0.032; min-max
0.014, 0.017, 0.040; entropy 0.017, 0.039, 0.058."""
