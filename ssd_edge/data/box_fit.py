"""Default boxes fitted to a data set: other sizes, with the published network, aspect ratios and number of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ssd_edge.boxes import MATCH_IOU, Boxes
from ssd_edge.data.coverage import best_ious, objects_of
from ssd_edge.data.dataset import Dataset
from ssd_edge.data.wording import counted
from ssd_edge.errors import DataError
from ssd_edge.parsing import as_text
from ssd_edge.spec import ModelSpec

MOST_OBJECTS = 5000
"""Number of objects that sizes are fitted to; of more, evenly spaced ones."""

ENOUGH = 0.6
"""A higher IoU is worth no more than this one; the margin above ``MATCH_IOU`` is for what augmentation changes."""

MATCH_WORTH = 0.5
"""Worth of a match beside its IoU, so that objects that no box matches decide before those that fit ever better."""

LEAST_GAIN = 0.001
"""Smallest gain of the mean worth for which a group changes its scale: below it the published scale stays, which also
suits the other sizes at which crops show objects."""

_CANDIDATES = 64
"""Number of sizes tried for each group of boxes, evenly spaced on a logarithmic axis."""


@dataclass(frozen=True)
class Group:
    """Boxes of one level that share a scale: they grow and shrink together, so that their aspect ratios stay.

    In the paper's scheme a level has two groups: the boxes of scale s_k, and the extra square of scale s′_k.

    Attributes:
        level: index of the level.
        boxes: indices into the level's ``sizes``.
        scale: √(width·height) in fractions of the input's shorter side.
    """

    level: int
    boxes: tuple[int, ...]
    scale: float


@dataclass(frozen=True, eq=False)
class ChosenBoxes:
    """Default boxes for a data set, and its objects.

    Attributes:
        published: the model with the published sizes of its default boxes.
        spec: the model with the sizes chosen; the same if they are not fitted.
        objects: (N, 4) xyxy in fractions of the image, see ``coverage.objects_of``.
        fit: whether other sizes were tried.
    """

    published: ModelSpec
    spec: ModelSpec
    objects: Boxes
    fit: bool

    @property
    def is_fitted(self) -> bool:
        """Whether the sizes are other than the published ones."""
        return self.spec is not self.published

    def to_json(self) -> dict[str, Any]:
        """Return what ``sentence`` says as plain values for ``json.dumps``."""
        return {
            "default_boxes": {
                "model": self.spec.architecture,
                "input": as_text(self.spec.input_size),
                "fitted": self.is_fitted,
                "objects": len(self.objects),
                "share_unmatched": share_unmatched(self.objects, self.spec),
                "share_unmatched_published": share_unmatched(self.objects, self.published),
            }
        }

    def sentence(self) -> str:
        """Say what share of the objects no default box matches, and with the published sizes if others are chosen."""
        share = share_unmatched(self.objects, self.spec)
        text = (
            f"of {counted(len(self.objects), 'object')}, {share:.1%} overlap no default box of "
            f"{self.spec.architecture} at {as_text(self.spec.input_size)} with an IoU of {MATCH_IOU} or more"
        )
        if not self.is_fitted:
            return (
                f"{text}; no other sizes were found that match more, so the published ones stay" if self.fit else text
            )
        before = share_unmatched(self.objects, self.published)
        return f"default boxes are fitted to the data set: {text}; {before:.1%} with the published sizes"


def choose_boxes(spec: ModelSpec, dataset: Dataset, fit: bool = False) -> ChosenBoxes:
    """Fit a model's default boxes to a data set, or leave them as published.

    Args:
        spec: the model with the published sizes.
        dataset: usable images.
        fit: whether to fit the sizes.

    Raises:
        DataError: an image cannot be read, or there is no object to fit to.
    """
    objects, _ = objects_of(dataset)
    return ChosenBoxes(spec, fitted(spec, objects) if fit else spec, objects, fit)


def share_unmatched(objects: Boxes, spec: ModelSpec) -> float:
    """Compute the share of objects, (N, 4) xyxy in fractions, that no default box fits; 0 if there is no object."""
    return float((best_ious(objects, spec) < MATCH_IOU).mean()) if len(objects) else 0.0


def fitted(spec: ModelSpec, objects: Boxes) -> ModelSpec:
    """Fit the sizes of the default boxes to a data set's objects; their number and aspect ratios stay.

    Each group of boxes takes, in turn, the scale with which the objects are worth most (``_worth`` of their best IoU),
    until none gains ``LEAST_GAIN``: coordinate ascent from the published sizes. A scale is at least its level's step,
    for smaller boxes would leave gaps between them, and at most that of the whole image.

    Args:
        spec: gives the published levels.
        objects: (N, 4) xyxy in fractions of the image, see ``coverage.objects_of``.

    Returns:
        The fitted spec, or ``spec`` itself if its sizes leave no more objects unmatched.

    Raises:
        DataError: there is no object.
    """
    if not len(objects):
        raise DataError("default boxes cannot be fitted to no objects: leave out --box-sizes fit")
    some_objects = objects[:: -(-len(objects) // MOST_OBJECTS)]
    groups = groups_of(spec)
    scales = [_candidates(spec, group) for group in groups]
    tables = [_table(some_objects, spec, group, some) for group, some in zip(groups, scales, strict=True)]
    chosen = _ascend(tables)
    levels = [list(level.sizes) for level in spec.levels]
    for group, some, index in zip(groups, scales, chosen, strict=True):
        factor = float(some[index]) / group.scale
        for box in group.boxes:
            width, height = levels[group.level][box]
            levels[group.level][box] = (width * factor, height * factor)
    made = tuple(replace(level, sizes=tuple(sizes)) for level, sizes in zip(spec.levels, levels, strict=True))
    result = replace(spec, levels=made)
    return result if share_unmatched(objects, result) < share_unmatched(objects, spec) else spec


def groups_of(spec: ModelSpec) -> list[Group]:
    """Group the boxes of each level by their scale, in order of level and scale."""
    height, width = spec.input_size
    groups = []
    for number, level in enumerate(spec.levels):
        scales = [(w * width * h * height) ** 0.5 / min(spec.input_size) for w, h in level.sizes]
        members: dict[float, list[int]] = {}
        for box, scale in enumerate(scales):
            members.setdefault(round(scale, 4), []).append(box)
        groups += [Group(number, tuple(boxes), scales[boxes[0]]) for _, boxes in sorted(members.items())]
    return groups


def _candidates(spec: ModelSpec, group: Group) -> npt.NDArray[np.float64]:
    """List the scales that a group may have; the first is the one that it has."""
    height, width = spec.input_size
    largest = max((height * width) ** 0.5 / min(height, width), group.scale)
    step = spec.levels[group.level].step
    least = min((step[0] * height * step[1] * width) ** 0.5 / min(height, width), group.scale)
    return np.concatenate([[group.scale], np.geomspace(least, largest, _CANDIDATES)])


def _table(objects: Boxes, spec: ModelSpec, group: Group, scales: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Compute the worth of each object with a group of boxes at each scale: (scales, N)."""
    level = spec.levels[group.level]
    ious = []
    for factor in (scales / group.scale).tolist():
        sizes = tuple((level.sizes[box][0] * factor, level.sizes[box][1] * factor) for box in group.boxes)
        ious.append(best_ious(objects, replace(spec, levels=(replace(level, sizes=sizes),))))
    return _worth(np.stack(ious))


def _worth(overlaps: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Compute what objects of these best IoUs are worth; it rises with the IoU, so that the best box is worth most."""
    return np.asarray(np.minimum(overlaps, ENOUGH) + MATCH_WORTH * (overlaps >= MATCH_IOU), np.float32)


def _ascend(tables: Sequence[npt.NDArray[np.float32]]) -> list[int]:
    """Choose a row of each group's table, so that no other row of one raises the mean worth by ``LEAST_GAIN``."""
    chosen = [0] * len(tables)
    changed = True
    while changed:
        changed = False
        for k, table in enumerate(tables):
            rest = [other[index] for j, (other, index) in enumerate(zip(tables, chosen, strict=True)) if j != k]
            others = np.max(rest, axis=0, initial=0)
            means = np.maximum(table, others).mean(axis=1, dtype=np.float64)
            best = int(means.argmax())
            if means[best] >= means[chosen[k]] + LEAST_GAIN:
                chosen[k], changed = best, True
    return chosen
