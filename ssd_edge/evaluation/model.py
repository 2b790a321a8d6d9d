"""Evaluate a model on a data set: read, check, detect, evaluate."""

from __future__ import annotations

from pathlib import Path

from ssd_edge.data.check import check_dataset
from ssd_edge.data.dataset import Target
from ssd_edge.data.held_out import held_out_of, shortened
from ssd_edge.data.readers import declared_splits
from ssd_edge.data.report import Report
from ssd_edge.data.roles import HELD_OUT
from ssd_edge.data.split import part_to_measure_on
from ssd_edge.detections import Detections
from ssd_edge.detector import Heads
from ssd_edge.evaluation import Evaluation, detect_all, evaluate
from ssd_edge.progress import Progress, no_progress, part
from ssd_edge.spec import ModelSpec


def evaluate_model(
    heads: Heads, data: Path, split: str = "", progress: Progress = no_progress
) -> tuple[Evaluation, Report]:
    """Evaluate a model on labelled images; also return the check's report on the images.

    Objects of classes that the model does not have are left out; so are images and boxes that cannot be used.

    Args:
        heads: the model in any form.
        data: as ``path`` in ``open_dataset``.
        split: the split to use, or ``held-out``, see ``part_to_measure_on``.
        progress: called with (done, total); each image counts twice, once when checked and once when detected.

    Raises:
        DataError: there is no usable image, or as in ``part_to_measure_on``.
    """
    detections, targets, report = detect_in(heads, data, split, progress)
    return evaluate(detections, targets, heads.spec.labels, report.scenes), report


def detect_in(
    heads: Heads, data: Path, split: str = "", progress: Progress = no_progress
) -> tuple[list[Detections], list[Target], Report]:
    """Run a model on labelled images; return its detections, the targets, and the check's report.

    Arguments and errors are as in ``evaluate_model``.
    """
    dataset = part_to_measure_on(data, split, heads.spec)
    total = 2 * len(dataset)
    report = check_dataset(dataset, part(progress, 0, total))
    already_done = 2 * len(dataset) - len(report.clean)  # all checks, and the images that are left out
    detections, targets = detect_all(heads.detector(), report.clean, part(progress, already_done, total))
    return detections, targets, report


def unseen_split(report: Report, spec: ModelSpec) -> str:
    """Name the part of the data set that a model did not learn from, if it may have learnt from what is reported on.

    That is so if the images are more than those that its training held out, or if they are all of a data set of this
    name, a split of which it was trained on. "" means that nothing is known against the images.
    """
    dataset = report.clean
    held_out, facts = held_out_of(spec.provenance), spec.provenance
    if dataset.part == HELD_OUT:
        return ""
    if held_out is not None:
        known = {shortened(digest) for digest in report.digests}
        return HELD_OUT if known & set(held_out.digests) and not known <= set(held_out.digests) else ""
    trained, validated = facts.get("dataset_split", ""), facts.get("validation_split", "")
    if not validated or facts.get("dataset") != dataset.root.name or dataset.split not in ("", trained):
        return ""
    return validated if {trained, validated} <= declared_splits(dataset.root).keys() | {""} else ""
