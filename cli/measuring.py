"""Measurements for ``ssd-edge calibrate``, made with the engines, which ``calibration`` may not import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ssd_edge.errors import DataError

if TYPE_CHECKING:
    from ssd_edge.calibration.job import Measures, OnThisMachine
    from ssd_edge.data.report import Report
    from ssd_edge.evaluation import Evaluation
    from ssd_edge.progress import Progress
    from ssd_edge.spec import ModelSpec


def measures_on(data: Path | None, split: str, spec: ModelSpec, reports: list[Report]) -> Measures:
    """Return the functions with which a calibration measures AP and speed.

    Args:
        data: the data set to measure AP on; None if AP is not measured.
        split: the part of the data set; "" for the usual one, see ``usual_part_to_measure_on``.
        spec: the spec of the heads.
        reports: receives the report on the images that AP is measured on, each time that it is.

    Raises:
        DataError: the data set cannot be used; raised now, not after the calibration.
    """
    from ssd_edge.calibration.job import Measures

    if data is not None:
        split = _split_with_labels(data, split, spec)

    def ap(onnx: Path, progress: Progress) -> Evaluation:
        from ssd_edge.engines.cpu.exact import open_exact
        from ssd_edge.evaluation.model import evaluate_model

        with open_exact(onnx, spec) as exact:
            result, report = evaluate_model(exact, _not_none(data), split, progress)
        reports.append(report)
        return result

    def on_this_machine(fp32: Path, int8: Path, progress: Progress) -> OnThisMachine:
        from ssd_edge.calibration.job import OnThisMachine
        from ssd_edge.engines.cpu.this_machine import engine_of_this_machine
        from ssd_edge.evaluation.model import evaluate_model
        from ssd_edge.progress import named
        from ssd_edge.speed import images_per_second

        with engine_of_this_machine(fp32, spec) as plain, engine_of_this_machine(int8, spec) as engine:
            here = None
            if data is not None:
                here = evaluate_model(engine, data, split, named(progress, "AP of the engine of this machine"))[0]
            progress(0, 0, "speed of FP32 and INT8")
            fps = images_per_second([plain, engine])
        return OnThisMachine(here, (fps[0], fps[1]))

    return Measures(ap if data is not None else None, on_this_machine)


def _not_none(data: Path | None) -> Path:
    if data is None:
        raise ValueError("AP is measured on a data set, and there is none")
    return data


def _split_with_labels(data: Path, split: str, spec: ModelSpec) -> str:
    """Return the split to measure on, once it has been opened; DataError if that fails."""
    from ssd_edge.data.split import part_to_measure_on, usual_part_to_measure_on

    try:
        split = split or usual_part_to_measure_on(data, spec)
        part_to_measure_on(data, split, spec)
    except DataError as error:
        raise DataError(
            f"{error}; name another part to measure on with --eval-split, or for images without labels add --no-eval"
        ) from None
    return split
