"""From which scores on detections of a camera are shown, and what of it is watched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ssd_edge.loop.shown import Shown, above, watched
from ssd_edge.spec import ModelSpec
from ssd_edge.tracking.watch import Watch
from ssd_edge.tracking.watch_file import WatchReader

DEFAULT_SCORE = 0.5
"""Score from which on detections of a class are shown that has no operating score."""


class Chosen(NamedTuple):
    """What is shown of the detections, the lowest score that this needs, and what is watched, if anything."""

    shown: Shown
    lowest_score: float
    watch: Watch | None = None


def chosen(spec: ModelSpec, min_score: float | None, reader: WatchReader | None) -> Chosen:
    """Choose what is shown.

    Args:
        spec: the model's spec, which may have a score for each class.
        min_score: the score for all classes instead; None for each class's own.
        reader: what to watch; None for nothing.

    Raises:
        WatchError: a class that is to be watched is none of the model's.
    """
    return chosen_at(thresholds_of(spec, min_score), spec.labels, reader)


def thresholds_of(spec: ModelSpec, min_score: float | None) -> list[float]:
    """Return the score from which on each class is shown; arguments as in ``chosen``."""
    each = spec.operating_score_of_each(DEFAULT_SCORE)
    return [float(np.float32(score)) for score in (each if min_score is None else [min_score] * len(each))]


def chosen_at(thresholds: Sequence[float], labels: Sequence[str], reader: WatchReader | None) -> Chosen:
    """Choose what is shown.

    Args:
        thresholds: the score from which on each class is shown.
        labels: class names, as in the model's spec.
        reader: what to watch; None for nothing.

    Raises:
        WatchError: a class that is to be watched is none of the labels.
    """
    if reader is None:
        return Chosen(above(np.asarray(thresholds, np.float32)), min(thresholds))
    watch = Watch(reader.plan(labels, thresholds), labels)
    return Chosen(watched(watch), watch.lowest_score, watch)
