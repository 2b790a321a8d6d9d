"""Decide what the numbers of labels mean: pixels of the picture, of a smaller or larger one, or fractions of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ssd_edge.data.dataset import Dataset, Issue, Sample, Target
from ssd_edge.data.header import Header
from ssd_edge.data.likeness import Look
from ssd_edge.data.picture import turned_boxes

_SLACK = 1.0  # pixels outside the declared size that can be due to rounding or to counting from 1
_USUAL_BITS = (8, 10, 12, 14)  # of cameras whose values are stored in 16 bits


class Problem(NamedTuple):
    """One problem of an image or a box; the fields are those of ``Issue``."""

    kind: str
    detail: str
    handled: str


class Inspected(NamedTuple):
    """Facts about a readable image.

    Attributes:
        header: what its header says.
        largest: the largest value of a 16-bit picture; None for 8 bits.
        digest: SHA-256 of the file, as hexadecimal digits.
        bits: number of bits that the values of a 16-bit picture were taken for.
        look: by which pictures of the same scene are known, see ``likeness``.
    """

    header: Header
    largest: int | None
    digest: str
    bits: int
    look: Look


@dataclass(frozen=True)
class Units:
    """The units of a data set's boxes, which only all of its labels together show.

    Attributes:
        fractions: whether the boxes are fractions of the image, in a format that wants pixels.
        declared: whether boxes can be pixels of an image of the declared size, where that is not the real one.
    """

    fractions: bool
    declared: bool

    @classmethod
    def of(cls, dataset: Dataset, inspected: Sequence[Inspected | Issue]) -> Units:
        """Find the units: fractions if no coordinate of the set is above 1, and not all are whole numbers."""
        boxes = np.concatenate([np.zeros((0, 4), np.float32), *(sample.target.boxes for sample in dataset)])
        boxes = boxes[np.isfinite(boxes).all(axis=1)]
        fractions = (
            dataset.format in ("voc", "coco")
            and len(boxes) > 0
            and bool((np.abs(boxes - 0.5) <= 0.5005).all())
            and bool((boxes % 1 != 0).any())
        )
        resized = (
            (sample.target.boxes, sample.declared)
            for sample, info in zip(dataset.samples, inspected, strict=True)
            if not isinstance(info, Issue) and sample.declared and _same_shape(sample.declared, info.header.size)
        )
        return cls(fractions, all(_fit(boxes, size) for boxes, size in resized))

    def in_pixels(self, sample: Sample, info: Inspected) -> tuple[Target | None, list[Problem]]:
        """Return a sample's objects in pixels of its upright picture, or None if unknown, and the problems."""
        target, problem = self._placed(sample, info.header)
        problems = [problem] if problem else []
        if info.largest is not None and info.largest < 1 << (info.bits - 2):
            problems.append(_unused_bits(info.largest, info.bits))
        return target, problems

    def _placed(self, sample: Sample, header: Header) -> tuple[Target | None, Problem | None]:
        boxes, declared, size = sample.target.boxes, sample.declared, header.size
        if self.fractions and len(boxes):
            detail = f"its boxes are fractions of the {_by(size)} image, where the format wants pixels"
            return _with(sample.target, boxes * _edges(size)), Problem("fraction-boxes", detail, "boxes scaled")
        if self.fractions or declared is None or declared == size:
            return sample.target, None
        said = f"its labels declare {_by(declared)}, but the image is {_by(size)}"
        if declared == (header.width, header.height):  # of the picture that EXIF turns
            if not _fit(boxes, declared) and _fit(boxes, size):
                return sample.target, Problem("size-mismatch", f"{said}, as its boxes are", "none")
            detail = f"{said} after EXIF orientation {header.orientation}"
            return _with(sample.target, turned_boxes(boxes, header)), Problem("size-mismatch", detail, "boxes turned")
        if not _same_shape(declared, size):
            return None, Problem("size-mismatch", f"{said}, of another shape", "image left out")
        if not self.declared:
            detail = f"{said}, and boxes of the data set fit only one of the two: correct the declared sizes"
            return None, Problem("size-mismatch", detail, "image left out")
        scaled = boxes * (_edges(size) / _edges(declared))
        return _with(sample.target, scaled), Problem("size-mismatch", said, "boxes scaled")


def _with(target: Target, boxes: npt.NDArray[np.float32]) -> Target:
    return replace(target, boxes=boxes.astype(np.float32))


def _edges(size: tuple[int, int]) -> npt.NDArray[np.float32]:
    return np.array([*size, *size], np.float32)


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


def _fit(boxes: npt.NDArray[np.float32], size: tuple[int, int]) -> bool:
    """Tell whether no box reaches out of an image of this size."""
    reach = np.nan_to_num(boxes[:, 2:], nan=0.0, posinf=0.0, neginf=0.0)
    return bool((reach <= np.array(size) + _SLACK).all())


def _same_shape(declared: tuple[int, int], size: tuple[int, int]) -> bool:
    """Tell whether one size is the other resized, as exactly as whole pixels allow, and not the same."""
    return declared != size and abs(declared[0] * size[1] - declared[1] * size[0]) <= max(size)


def _unused_bits(largest: int, bits: int) -> Problem:
    used = next((number for number in _USUAL_BITS if largest < 1 << number), bits)
    detail = (
        f"its largest value is {largest} of {(1 << bits) - 1}, so that it becomes {largest >> (bits - 8)} of 255; "
        f"if the camera gives {used} bits, write: ssd-edge --image-bits {used} …"
    )
    return Problem("unused-bits", detail, "none")
