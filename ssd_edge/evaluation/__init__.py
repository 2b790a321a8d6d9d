"""Evaluate detections against ground truth by average precision: COCO's twelve numbers, and Pascal VOC's two.

Difficult objects and crowds need not be found, and detecting them is not an error; ``coco.py`` and ``voc.py`` explain
the rules.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ssd_edge.data.dataset import Dataset, Sample, Target, read_image
from ssd_edge.detections import Detections
from ssd_edge.detector import Detector, Result
from ssd_edge.errors import DataError
from ssd_edge.evaluation.coco import coco_numbers
from ssd_edge.evaluation.curve import voc_aps
from ssd_edge.evaluation.intervals import CONFIDENCE, Change, Interval, ap_interval
from ssd_edge.evaluation.resampling import OF_CLASS, OVERALL, MatchedImages, column_of_class
from ssd_edge.evaluation.voc import defined_aps, voc_ap
from ssd_edge.progress import Progress, no_progress

__all__ = ["ClassEvaluation", "Evaluation", "Intervals", "evaluate", "measure_ap", "voc_ap"]


@dataclass(frozen=True)
class ClassEvaluation:
    """The numbers of one class; each AP is None if the class has no object to find.

    Attributes:
        label: the class's name.
        num_objects: number of objects to find, without difficult ones and crowds.
        ap: COCO's AP, the mean over IoU 0.50, 0.55 … 0.95.
        ap50: COCO's AP at IoU 0.50, with precision read at 101 recalls.
        voc_ap50: AP of VOC 2010 and later at IoU 0.50, the area under the whole curve.
        voc07_ap50: AP of VOC 2007 at IoU 0.50, with precision read at 11 recalls.
    """

    label: str
    num_objects: int
    ap: float | None
    ap50: float | None
    voc_ap50: float | None
    voc07_ap50: float | None


@dataclass(frozen=True)
class Evaluation:
    """Agreement of detections with ground truth; each number is in 0 … 1, or None if it is undefined.

    A class without an object to find is left out of every mean.

    Attributes:
        labels: class names, without background.
        num_images: number of images evaluated, including those with no object.
        ap, ap50, ap75, ap_small, ap_medium, ap_large: COCO's AP, with up to 100 detections per class and image.
        ar_1, ar_10, ar_100: COCO's recall with up to 1, 10 or 100 detections per class and image.
        ar_small, ar_medium, ar_large: COCO's recall by size of object, with up to 100 detections.
        voc_map50, voc07_map50: the means over classes of ``voc_ap50`` and ``voc07_ap50``.
        per_class: the numbers of each class, in the order of ``labels``.
        matched: the detections and objects that all these come from, and the intervals too.
    """

    labels: tuple[str, ...]
    num_images: int
    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    ar_1: float | None
    ar_10: float | None
    ar_100: float | None
    ar_small: float | None
    ar_medium: float | None
    ar_large: float | None
    voc_map50: float | None
    voc07_map50: float | None
    per_class: tuple[ClassEvaluation, ...]

    matched: MatchedImages = field(repr=False, compare=False)

    @cached_property
    def intervals(self) -> Intervals:
        """The 95 % interval of each AP; computed at the first use, which takes about a second."""
        return Intervals.of(self)

    def change_from(self, before: Evaluation, name: str = "ap", label: int | None = None) -> Change | None:
        """Compute the change of an AP from an evaluation of other detections on the same images.

        Args:
            before: the other evaluation.
            name: a name of ``resampling.OVERALL``, or of ``OF_CLASS`` for a class.
            label: index of the class; None for the mean over classes.

        Returns:
            None if the AP is undefined in one of them, or fewer than two scenes show an object.

        Raises:
            ValueError: the evaluations are of different images.
        """
        if not self.matched.same_images(before.matched):
            raise ValueError("a change is between evaluations of the same images, but these differ")
        numbers = [one if label is None else one.per_class[label] for one in (before, self)]
        earlier, value = (getattr(one, name) for one in numbers)
        column = OVERALL.index(name) if label is None else column_of_class(name, label)
        if value is None or earlier is None:
            return None
        differences = self.matched.halves[:, column] - before.matched.halves[:, column]
        return Change.of(earlier, value, differences, int(self.matched.support[column]))

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``; an undefined number or interval is None."""
        plain = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("matched", "per_class")}
        rows = zip(self.per_class, self.intervals.per_class, strict=True)
        return {
            **plain,
            "labels": list(self.labels),
            "num_scenes": len(set(self.matched.scenes)),
            "confidence": CONFIDENCE,
            "intervals": dict(self.intervals.overall),
            "per_class": [{**asdict(row), "intervals": dict(intervals)} for row, intervals in rows],
        }


@dataclass(frozen=True)
class Intervals:
    """The 95 % intervals of an evaluation by the names of its numbers; None for an undefined one.

    Attributes:
        overall: those of the means over classes.
        per_class: those of each class.
    """

    overall: Mapping[str, Interval | None]
    per_class: tuple[Mapping[str, Interval | None], ...]

    @classmethod
    def of(cls, result: Evaluation) -> Intervals:
        """Compute the intervals of an evaluation."""
        matched = result.matched
        columns = iter(zip(matched.halves.T, matched.support.tolist(), strict=True))

        def named(numbers: Evaluation | ClassEvaluation, names: tuple[str, ...]) -> dict[str, Interval | None]:
            return {name: ap_interval(getattr(numbers, name), *next(columns)) for name in names}

        return cls(named(result, OVERALL), tuple(named(row, OF_CLASS) for row in result.per_class))


def evaluate(
    detections: Sequence[Detections],
    targets: Sequence[Target],
    labels: Sequence[str],
    scenes: Sequence[int] | None = None,
) -> Evaluation:
    """Compute COCO's and VOC's numbers for ``detections[i]`` against ``targets[i]``, both in pixels of image i.

    Detections of equal score are ranked in the given order, as in COCO.

    Args:
        detections: detections in each image.
        targets: objects in each image.
        labels: class names, without background.
        scenes: number of each image's scene, see ``data.likeness``, for the intervals; None if each is one by itself.

    Raises:
        ValueError: the numbers of detections and targets differ.
        DataError: a label is not an index into ``labels``, or a box or score is NaN or infinite.
    """
    if len(detections) != len(targets):
        raise ValueError(f"there must be Detections for each of {len(targets)} targets, but got {len(detections)}")
    for i, (detected, target) in enumerate(zip(detections, targets, strict=True)):
        _check(f"detections of image {i}", detected.labels, len(labels), detected.boxes, detected.scores)
        _check(f"objects of image {i}", target.labels, len(labels), target.boxes)

    matched = MatchedImages.of(detections, targets, len(labels), scenes)
    ones = np.ones((1, len(targets)), np.float32)
    numbers, class_aps = coco_numbers(detections, targets, len(labels))
    rows = []
    for k, label in enumerate(labels):
        count = sum(int(np.sum((t.labels == k) & ~(t.difficult | t.crowd))) for t in targets)
        rows.append(ClassEvaluation(label, count, *class_aps[k], *defined_aps(voc_aps(matched.classes[k].voc, ones))))
    return Evaluation(
        labels=tuple(labels),
        num_images=len(targets),
        voc_map50=_mean([row.voc_ap50 for row in rows]),
        voc07_map50=_mean([row.voc07_ap50 for row in rows]),
        per_class=tuple(rows),
        matched=matched,
        **numbers,
    )


def measure_ap(
    detector: Detector,
    samples: Dataset | Sequence[Sample],
    labels: Sequence[str],
    progress: Progress = no_progress,
    scenes: Sequence[int] | None = None,
) -> Evaluation:
    """Run a detector on images on disk, and evaluate its detections.

    Args:
        detector: the model.
        samples: images and their objects.
        labels: class names, without background.
        progress: called after each image.
        scenes: as in ``evaluate``.

    Raises:
        DataError: an image cannot be read, or as in ``evaluate``.
    """
    return evaluate(*detect_all(detector, samples, progress), labels, scenes)


def detect_all(
    detector: Detector, samples: Dataset | Sequence[Sample], progress: Progress = no_progress
) -> tuple[list[Detections], list[Target]]:
    """Run a detector on images on disk, with ``depth`` of them at once; return its detections and the targets.

    Args:
        detector: the model.
        samples: images and their objects.
        progress: called after each image.

    Raises:
        DataError: an image cannot be read.
    """
    detections: list[Detections] = []
    targets: list[Target] = []
    pending: deque[Callable[[], Result]] = deque()

    def wait_for(number: int) -> None:
        for _ in range(number):
            detections.append(pending.popleft()().detections)
            progress(len(detections), len(samples))

    for sample in samples:
        image = read_image(sample.image)
        if len(pending) == detector.depth:
            wait_for(1)
        pending.append(detector.submit(image))
        targets.append(sample.target)
    wait_for(len(pending))
    return detections, targets


def _check(whose: str, labels: npt.NDArray[np.int64], num_labels: int, *numbers: npt.NDArray[np.float32]) -> None:
    wrong = labels[(labels < 0) | (labels >= num_labels)]
    if len(wrong):
        raise DataError(f"{whose} have label {wrong[0]}, but there are {num_labels} labels, counted from 0")
    if not all(np.isfinite(array).all() for array in numbers):
        raise DataError(f"{whose} hold a NaN or infinite number, which cannot be evaluated")


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None
