"""Compute every AP of an evaluation for many choices of its images: what intervals are made from."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ssd_edge.data.dataset import Target
from ssd_edge.detections import Detections
from ssd_edge.evaluation.curve import Counts, Floats, coco_aps, voc_aps
from ssd_edge.evaluation.matching import SIZES, Matches, coco_matches
from ssd_edge.evaluation.voc import voc_matches

OVERALL = ("ap", "ap50", "ap75", "voc_map50", "voc07_map50", *(f"ap_{size}" for size in SIZES))
"""Names of the means over classes."""

OF_CLASS = ("ap", "ap50", "voc_ap50", "voc07_ap50")
"""Names of the numbers of a class."""

HALVES = 1000
"""Number of random halves; the standard error that they give is off by about 2 % of itself."""


def column_of_class(name: str, label: int) -> int:
    """Return the column of ``MatchedImages.aps`` for a name of ``OF_CLASS``."""
    return len(OVERALL) + len(OF_CLASS) * label + OF_CLASS.index(name)


class ClassMatches(NamedTuple):
    """The detections of a class, matched by COCO's rules, by VOC's, and by COCO's for objects of each of ``SIZES``."""

    coco: Matches
    voc: Matches
    by_size: tuple[Matches, ...]

    @classmethod
    def of(cls, detections: Sequence[Detections], targets: Sequence[Target], label: int) -> ClassMatches:
        """Match the detections of a class."""
        return cls(
            coco_matches(detections, targets, label),
            voc_matches(detections, targets, label),
            tuple(coco_matches(detections, targets, label, areas) for areas in SIZES.values()),
        )


@dataclass(frozen=True, eq=False)
class MatchedImages:
    """Images whose detections are matched with their objects, class by class.

    Attributes:
        scenes: number of the scene of each image. Scenes are drawn as a whole, since images of one are no independent
            evidence.
        classes: the matches of each class.
    """

    scenes: tuple[int, ...]
    classes: tuple[ClassMatches, ...]

    @classmethod
    def of(
        cls,
        detections: Sequence[Detections],
        targets: Sequence[Target],
        num_labels: int,
        scenes: Sequence[int] | None = None,
    ) -> MatchedImages:
        """Match the detections of every class; without ``scenes``, each image is one by itself."""
        return cls(
            tuple(range(len(targets)) if scenes is None else scenes),
            tuple(ClassMatches.of(detections, targets, k) for k in range(num_labels)),
        )

    def aps(self, counts: Counts) -> Floats:
        """Compute all APs for each of R choices of images, NaN where one is undefined.

        A class without an object in a choice is left out of the means, as in an evaluation.

        Returns:
            (R, 8 + 4 K): ``OVERALL``, then ``OF_CLASS`` of each of K classes.
        """
        if not self.classes:
            return np.full((len(counts), len(OVERALL)), np.nan)
        coco = np.stack([coco_aps(one.coco, counts) for one in self.classes])
        voc = np.stack([voc_aps(one.voc, counts) for one in self.classes])
        of_class = np.stack([coco.mean(axis=2), coco[..., 0], voc[..., 0], voc[..., 1]], axis=2)  # (K, R, 4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the mean of no class is NaN, as it should be
            ap, ap50, voc_map50, voc07_map50 = np.nanmean(of_class, axis=0).T
            ap75 = np.nanmean(coco[..., 5], axis=0)
            by_size = [
                np.nanmean([coco_aps(one.by_size[k], counts).mean(axis=1) for one in self.classes], axis=0)
                for k in range(len(SIZES))
            ]
        overall = np.stack([ap, ap50, ap75, voc_map50, voc07_map50, *by_size], axis=1)
        return np.concatenate([overall, np.moveaxis(of_class, 0, 1).reshape(len(counts), -1)], axis=1)

    @cached_property
    def halves(self) -> Floats:
        """(``HALVES``, 8 + 4 K): see ``of_halves``."""
        return self.of_halves(HALVES)

    def of_halves(self, number: int, only: npt.NDArray[np.bool_] | None = None) -> Floats:
        """Compute ``aps`` for random halves of the scenes; of an odd number, every other half has one more.

        The halves are the same for all evaluations of the same scenes, so that the rows of two can be paired.

        Args:
            number: number of halves; even, since the two of each division are taken.
            only: (number of images,) which images of a half count; None for all.
        """
        names, scene_of = np.unique(np.array(self.scenes, np.int64), return_inverse=True)
        ranks = np.random.default_rng(0).random((number // 2, len(names))).argsort(axis=1)
        first = ranks < len(names) // 2
        counts = np.concatenate([first, ~first])[:, scene_of].astype(np.float32)
        return self.aps(counts if only is None else counts * only)

    @cached_property
    def support(self) -> npt.NDArray[np.int64]:
        """(8 + 4 K,) number of scenes with an object to find behind each column of ``aps``."""
        scenes = np.array(self.scenes, np.int64)

        def behind(matches: Sequence[Matches]) -> int:
            shown = np.array([one.objects > 0 for one in matches]).reshape(len(matches), -1)
            return len(np.unique(scenes[shown.any(axis=0)])) if len(matches) else 0

        of_any = behind([one.coco for one in self.classes])
        of_sizes = [behind([one.by_size[k] for one in self.classes]) for k in range(len(SIZES))]
        overall = [of_any] * (len(OVERALL) - len(SIZES)) + of_sizes
        return np.array(overall + [behind([one.coco]) for one in self.classes for _ in OF_CLASS], np.int64)

    def same_images(self, other: MatchedImages) -> bool:
        """Tell whether another evaluation is of the same images, as far as their scenes and objects show it."""
        return (
            self.scenes == other.scenes
            and len(self.classes) == len(other.classes)
            and all(
                np.array_equal(a.coco.objects, b.coco.objects) for a, b in zip(self.classes, other.classes, strict=True)
            )
        )
