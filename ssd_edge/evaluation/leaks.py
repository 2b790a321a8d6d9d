"""Say how much higher an AP is because some of its images show scenes that the model may have learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssd_edge.data.dataset import read_image
from ssd_edge.data.likeness import Look, known_scenes, look_of
from ssd_edge.data.readers import declared_splits, open_dataset
from ssd_edge.data.report import Report
from ssd_edge.data.roles import role_of
from ssd_edge.errors import DataError
from ssd_edge.evaluation import Evaluation
from ssd_edge.evaluation.intervals import Change
from ssd_edge.evaluation.resampling import HALVES, OVERALL


@dataclass(frozen=True)
class Optimism:
    """What images of known scenes add to an AP.

    Attributes:
        known: indices of the images of known scenes.
        with_them: AP of all images.
        without: AP of the other images; None if they show no object.
        change: the difference, over the same halves; None with too few images.
    """

    known: tuple[int, ...]
    with_them: float | None
    without: float | None
    change: Change | None

    @classmethod
    def of(cls, result: Evaluation, known: Sequence[int]) -> Optimism:
        """Compare the AP of all images with that of the images whose scenes are not known."""
        new = np.ones(result.num_images, bool)
        new[list(known)] = False
        matched, column = result.matched, OVERALL.index("ap")
        without = float(matched.aps(new[None].astype(np.float32))[0, column])
        if result.ap is None or np.isnan(without):
            return cls(tuple(known), result.ap, None, None)
        differences = matched.halves[:, column] - matched.of_halves(HALVES, new)[:, column]
        change = Change.of(without, result.ap, differences, int(matched.support[column]))
        return cls(tuple(known), result.ap, without, change)

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``."""
        change = self.change.to_json() if self.change else None
        return {"known_images": len(self.known), "ap": self.with_them, "ap_without": self.without, "optimism": change}


def known_from_training(report: Report) -> list[int]:
    """Return the indices of the images of a report that look like one of a split for training, or of an unnamed part.

    Raises:
        DataError: the data set has no other part to compare with.
    """
    measured = {sample.image for sample in report.clean}
    root = report.dataset.root
    splits = [name for name, source in declared_splits(root).items() if role_of(name) == "train" and source.exists()]
    images = {sample.image for name in splits for sample in open_dataset(root, name)} - measured
    if not images:
        raise DataError(f"{root} has no split for training to compare these images with: leave out --leaks")
    with ThreadPoolExecutor() as pool:
        looks = [look for look in pool.map(_look, sorted(images)) if look is not None]
    return known_scenes(looks, report.looks)


def _look(image: Any) -> Look | None:
    try:
        return look_of(read_image(image))
    except DataError:  # nothing was learnt from it
        return None
