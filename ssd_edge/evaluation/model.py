"""A model against a data set: read, check, detect, evaluate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ssd_edge.data.check import Report, check_dataset
from ssd_edge.data.dataset import Target
from ssd_edge.data.readers import open_dataset
from ssd_edge.detections import Detections
from ssd_edge.detector import Heads
from ssd_edge.evaluation import Evaluation, detect_all, evaluate


def evaluate_model(
    heads: Heads, data: Path, split: str = "", progress: Callable[[int, int], None] | None = None
) -> tuple[Evaluation, Report]:
    """AP of a model on labelled images, and what was wrong with the images.

    Objects of classes that the model does not know are left out; so are images and boxes that cannot be used.

    Args:
        heads: any form of a model.
        data: as in ``open_dataset``.
        split: part of it.
        progress: called with (done, total); an image counts twice, once to check and once to detect.

    Raises:
        DataError: no usable image.
    """
    detections, targets, report = detect_in(heads, data, split, progress)
    return evaluate(detections, targets, heads.spec.labels), report


def detect_in(
    heads: Heads, data: Path, split: str = "", progress: Callable[[int, int], None] | None = None
) -> tuple[list[Detections], list[Target], Report]:
    """What a model finds in labelled images, what is to be found, and what was wrong with the images.

    Args and errors as in ``evaluate_model``.
    """
    dataset = open_dataset(data, split, heads.spec.labels)
    total = 2 * len(dataset)
    tell = progress or (lambda done, of: None)
    report = check_dataset(dataset, lambda done, _: tell(done, total))
    left_out = len(dataset) - len(report.clean)
    found = detect_all(heads.detector(), report.clean, lambda done: tell(len(dataset) + left_out + done, total))
    return *found, report
