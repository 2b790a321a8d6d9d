"""Compute every AP of an evaluation for many choices of its images: what intervals are made from."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ssd_edge.data.dataset import Target
from ssd_edge.detections import Detections
from ssd_edge.evaluation.curve import Counts, Floats, coco_aps, voc_aps
from ssd_edge.evaluation.matching import Matches, coco_matches
from ssd_edge.evaluation.voc import voc_matches

OVERALL = ("ap", "ap50", "ap75", "voc_map50", "voc07_map50")
OF_CLASS = ("ap", "ap50", "voc_ap50", "voc07_ap50")


class ClassMatches(NamedTuple):
    """The detections of a class, matched by COCO's rules and by VOC's."""

    coco: Matches
    voc: Matches


@dataclass(frozen=True, eq=False)
class Scene:
    """Detections matched with objects, class by class.

    Attributes:
        num_images: number of images.
        classes: the matches of each class.
    """

    num_images: int
    classes: tuple[ClassMatches, ...]

    @classmethod
    def of(cls, detections: Sequence[Detections], targets: Sequence[Target], num_labels: int) -> Scene:
        """Match the detections of every class."""
        return cls(
            len(targets),
            tuple(
                ClassMatches(coco_matches(detections, targets, k), voc_matches(detections, targets, k))
                for k in range(num_labels)
            ),
        )

    def aps(self, counts: Counts) -> Floats:
        """Compute all APs for each of R choices of images, NaN where one is undefined.

        A class without an object in a choice is left out of the means, as in an evaluation.

        Returns:
            (R, 5 + 4 K): ``OVERALL``, then ``OF_CLASS`` of each of K classes.
        """
        coco = np.stack([coco_aps(one.coco, counts) for one in self.classes]) if self.classes else _none(counts)
        voc = np.stack([voc_aps(one.voc, counts) for one in self.classes]) if self.classes else _none(counts)
        of_class = np.stack([coco.mean(axis=2), coco[..., 0], voc[..., 0], voc[..., 1]], axis=2)  # (K, R, 4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the mean of no class is NaN, as it should be
            means = np.nanmean(of_class, axis=0) if self.classes else of_class.sum(axis=0) + np.nan
            ap75 = np.nanmean(coco[..., 5], axis=0) if self.classes else means[:, 0]
        overall = np.stack([means[:, 0], means[:, 1], ap75, means[:, 2], means[:, 3]], axis=1)
        return np.concatenate([overall, np.moveaxis(of_class, 0, 1).reshape(len(counts), -1)], axis=1)


def _none(counts: Counts) -> Floats:
    return np.zeros((0, len(counts), 10))
