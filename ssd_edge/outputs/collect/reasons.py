"""Tell which frames are hard for the model that runs, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ssd_edge.boxes import iou
from ssd_edge.detections import Detections
from ssd_edge.outputs.collect.flicker import Flickering
from ssd_edge.outputs.collect.settings import FAINT, NEAR
from ssd_edge.stream.frames import Frame

KINDS = {
    "disagree": "the two engines disagree",
    "class": "an object's class is unclear: it changes, or two compete",
    "flicker": "an object is missed, or seen, for a few frames only",
    "unsure": "a score is close to its class's threshold",
    "quiet": "nothing was seen for long",
}
"""The reasons, and what each means."""

CLOSE = 0.1
"""Distance of a score from its class's threshold up to which it is close."""

_SAME_PLACE = 0.5


class Shot(NamedTuple):
    """A frame, and all its detections down to faint ones."""

    frame: Frame
    found: Detections


class Hard(NamedTuple):
    """A frame that is worth a look.

    Attributes:
        shot: the frame.
        kind: the reason, a key of ``KINDS``.
        text: what was met, in words.
        doubts: number of objects that it was met with.
    """

    shot: Shot
    kind: str
    text: str
    doubts: int = 1


class Chooser:
    """Finds the hard frames of one camera; it needs some tenths of a millisecond a frame.

    Args:
        labels: class names, as in the model's spec.
        thresholds: the score from which on each class is shown.
        quiet: seconds without an object after which a frame is named.
    """

    def __init__(self, labels: Sequence[str], thresholds: Sequence[float], quiet: float) -> None:
        self._labels, self._quiet = labels, quiet
        self._thresholds = np.asarray(thresholds, np.float32)
        self._flickering = Flickering[Shot](labels, thresholds)
        self._seen: float | None = None

    def update(self, shot: Shot, time: float) -> list[Hard]:
        """Take in the next frame, and return hard ones: this one, or one before it that turns out to be hard now.

        Args:
            shot: the frame.
            time: seconds at which it was taken.
        """
        hard = []
        if shot.frame.file is None:  # pictures need not follow one another
            hard = [Hard(held, kind, text) for kind, held, text in self._flickering.update(shot, shot.found, time)]
        hard += self._unsure(shot) + self._contested(shot)
        if self._seen is None or time < self._seen or len(shot.found.above(self._thresholds)):
            self._seen = time
        elif time - self._seen >= self._quiet:
            hard.append(Hard(shot, "quiet", f"nothing seen for {time - self._seen:.0f} s"))
            self._seen = time
        return hard

    def _unsure(self, shot: Shot) -> list[Hard]:
        found = shot.found
        thresholds = self._thresholds[found.labels]
        away = np.abs(found.scores - thresholds)
        close = int((away <= CLOSE).sum())
        if not close:
            return []
        k = int(away.argmin())
        text = f"{self._labels[found.labels[k]]} scores {found.scores[k]:.2f}, shown from {thresholds[k]:.2f}"
        return [Hard(shot, "unsure", text, close)]

    def _contested(self, shot: Shot) -> list[Hard]:
        """Find objects for which two classes compete: what the model has not learnt looks a little like several."""
        found = shot.found.above(FAINT)
        rival = (iou(found.boxes[:, None], found.boxes[None]) >= _SAME_PLACE) & (
            found.labels[:, None] != found.labels[None]
        )
        first = np.triu(rival, 1).any(axis=1) & ~np.tril(rival, -1).any(axis=1)
        if not first.any():
            return []
        of = int(first.argmax())
        other = int(np.flatnonzero(rival[of])[0])
        told = " or ".join(f"{self._labels[found.labels[k]]} {found.scores[k]:.2f}" for k in (of, other))
        return [Hard(shot, "class", told, int(first.sum()))]


def disagreement(shot: Shot, theirs: Detections, labels: Sequence[str], thresholds: Sequence[float]) -> list[Hard]:
    """Say what one engine shows and the other does not see, not even with a score somewhat lower.

    Args:
        shot: all detections of the engine that runs, down to ``settings.lowest_score``.
        theirs: those of the other.
        labels: class names of both.
        thresholds: the score from which on each class is shown.

    Returns:
        One of ``disagree``, or none.
    """
    ours = shot.found
    least = np.asarray(thresholds, np.float32)
    told = []
    for what, shown, other in (("only here", ours, theirs), ("only by the other engine", theirs, ours)):
        sure, seen = shown.above(least), other.above(least - np.float32(NEAR))
        same = iou(sure.boxes[:, None], seen.boxes[None]) >= _SAME_PLACE
        alone = ~(same & (sure.labels[:, None] == seen.labels[None])).any(axis=1)
        rows = zip(sure.labels[alone].tolist(), sure.scores[alone].tolist(), strict=True)
        told += [f"{labels[label]} {score:.2f} {what}" for label, score in rows]
    text = ", ".join(told[:3]) + (f" and {len(told) - 3} more" if len(told) > 3 else "")
    return [Hard(shot, "disagree", text, len(told))] if told else []
