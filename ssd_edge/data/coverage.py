"""Find the objects that no default box of a model fits: their size or shape is not among those of the boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ssd_edge import boxes
from ssd_edge.data.dataset import Dataset, Sample
from ssd_edge.data.picture import image_size
from ssd_edge.data.wording import counted
from ssd_edge.spec import ModelSpec

WORTH_SAYING = 0.1
"""Share of a class's objects from which on training says that no default box fits them."""


class ClassCoverage(NamedTuple):
    """How well the default boxes of a model fit the objects of a class.

    Attributes:
        name: the class.
        objects: number of objects to learn from.
        unmatched: number of those with which no default box has an IoU of ``boxes.MATCH_IOU``. Training matches each of
            them to the one best box all the same, where others have several.
    """

    name: str
    objects: int
    unmatched: int

    @property
    def share(self) -> float:
        """Share of the objects that are unmatched; 0 if there are none."""
        return self.unmatched / max(1, self.objects)

    def __str__(self) -> str:
        return f"{self.share:.0%} of {self.objects} {self.name}"


def coverage(dataset: Dataset, spec: ModelSpec) -> list[ClassCoverage]:
    """Count the objects that no default box fits, for each class in the order of the labels.

    Args:
        dataset: the usable part of a checked data set, or one whose boxes are in pixels of its images.
        spec: gives the default boxes. Its input size makes no difference: IoU stays the same if an image is stretched.

    Raises:
        DataError: an image whose size is not known cannot be read.
    """
    objects, label = objects_of(dataset)
    number = len(dataset.labels)
    unmatched = best_ious(objects, spec) < boxes.MATCH_IOU
    counts = np.bincount(label, minlength=number), np.bincount(label[unmatched], minlength=number)
    return [ClassCoverage(*row) for row in zip(dataset.labels, *(one.tolist() for one in counts), strict=True)]


def objects_of(dataset: Dataset) -> tuple[boxes.Boxes, npt.NDArray[np.int64]]:
    """Collect the objects to learn from, with the same arguments and errors as ``coverage``.

    Returns:
        (N, 4) float32 xyxy in fractions of their image, and (N,) labels.
    """
    labels, fractions = [np.zeros(0, np.int64)], [np.zeros((0, 4), np.float32)]
    for sample in dataset:
        find = sample.target.to_find
        if find.any():
            labels.append(sample.target.labels[find])
            fractions.append(_fractions(sample)[find])
    return np.concatenate(fractions), np.concatenate(labels)


def unmatched_sentence(classes: Sequence[ClassCoverage], model: str, most: int = 4) -> str:
    """Say which classes the default boxes of a model do not fit, the most objects first; "" if they fit well enough.

    Args:
        classes: result of ``coverage``.
        model: the model's name.
        most: number of classes that are named; the others are counted.
    """
    worst = sorted((row for row in classes if row.share >= WORTH_SAYING), key=lambda row: -row.unmatched)
    if not worst:
        return ""
    more = f" and of {counted(len(worst) - most, 'more class')}" if len(worst) > most else ""
    return (
        f"no default box of {model} fits (IoU of {boxes.MATCH_IOU} or more) {', '.join(map(str, worst[:most]))}{more}: "
        "each of these objects is learnt by one box only, and many will be missed; another model, a larger input or "
        "fitted boxes may do better: check-data --model-name NAME --input WxH --box-sizes fit shows it"
    )


def _fractions(sample: Sample) -> boxes.Boxes:
    """Return the boxes of a sample, xyxy in fractions of the image."""
    edges = np.asarray((sample.declared or image_size(sample.image)) * 2, np.float32)
    return np.asarray(sample.target.boxes / edges, np.float32)


def best_ious(objects: boxes.Boxes, spec: ModelSpec) -> npt.NDArray[np.float32]:
    """Compute the highest IoU of each object with any default box.

    Of the boxes of one size on a grid, the one in the object's cell overlaps it most, since its centre is nearest in x
    and in y. So only these are compared, some thirty instead of thousands. That does not hold for default boxes clipped
    to the image (which no published model has), whose values may be too low at the image's edge.

    Args:
        objects: (N, 4) xyxy in fractions of the image.
        spec: gives the default boxes.

    Returns:
        (N,) float32.
    """
    defaults = boxes.to_xyxy(boxes.default_boxes(spec)).astype(np.float32)
    centres = (objects[:, :2] + objects[:, 2:]) / 2
    best, first = np.zeros(len(objects), np.float32), 0
    for level in spec.levels:
        (rows, columns), number = level.grid, len(level.sizes)
        row = np.clip(np.floor(centres[:, 1] / level.step[0]), 0, rows - 1).astype(int)
        column = np.clip(np.floor(centres[:, 0] / level.step[1]), 0, columns - 1).astype(int)
        nearest = first + (row * columns + column)[:, None] * number + np.arange(number)
        best = np.maximum(best, boxes.iou(objects[:, None], defaults[nearest]).max(axis=1))
        first += level.count
    return best
