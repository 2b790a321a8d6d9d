"""INT8 heads with scales that were found elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ssd_edge.calibration.job import Job
from ssd_edge.calibration.network.network import prepare
from ssd_edge.calibration.network.quantise import quantise
from ssd_edge.calibration.outcome import Outcome, finished


def calibrate_with_scales(job: Job, output: Path, scales: Mapping[str, float]) -> Outcome:
    """Make an INT8 ONNX file of FP32 heads with scales that are known already.

    Args:
        job: the heads and the policy; its images are not read.
        output: the file to write; it appears whole or not at all.
        scales: the scale of each tensor that needs one, by name.

    Raises:
        CalibrationError: the heads or the policy cannot be used, a scale is missing, or the file cannot be written.
        SpecError: the heads carry a model spec that is not valid.
    """
    file = quantise(prepare(job.heads, job.policy), scales, output, calibration_method="given scales")
    return finished(job, file, given=scales)
