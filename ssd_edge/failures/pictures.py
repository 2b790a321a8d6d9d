"""Draw an image with its errors: what was found, what is wrong, and what was not found."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ssd_edge.data.dataset import Image
from ssd_edge.failures.kinds import KINDS
from ssd_edge.failures.study import Failing
from ssd_edge.outputs.draw import Mark, draw_marks
from ssd_edge.outputs.lettering import names_of

RIGHT, WRONG, UNFOUND = (120, 205, 60), (90, 90, 245), (60, 225, 225)
"""BGR: green, red, yellow."""

LEGEND = "green: found; red: wrong, and how; yellow: not found"

_TEXT = {"class-and-place": "class, place"}


def draw_failing(image: Image, failing: Failing, labels: Sequence[str], longest: int = 480) -> Image:
    """Draw the errors in an image, reduced to at most ``longest`` pixels a side; see ``LEGEND``.

    A detection that is ignored, and an object that need not be found, are left out.
    """
    factor = min(1.0, longest / max(image.shape[:2]))
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    names = names_of(tuple(labels))
    detected, judged, target = failing.detections, failing.judged, failing.target
    marks = []
    unfound = target.where(target.to_find & ~judged.found)
    for box, label in zip(unfound.boxes, unfound.labels, strict=True):
        marks.append(Mark(box * np.float32(factor), names[label], names[label].text, UNFOUND))
    rows = zip(detected.boxes, detected.scores, detected.labels, judged.kind, strict=True)
    for box, score, label, kind in rows:
        if kind == "right":
            marks.append(Mark(box * np.float32(factor), names[label], "", RIGHT))
        elif kind in KINDS:
            text = f"{names[label].text} {score:.2f}, {_TEXT.get(str(kind), kind)}"
            marks.append(Mark(box * np.float32(factor), names[label], text, WRONG))
    return draw_marks(small, marks)
