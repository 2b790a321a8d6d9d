"""Doubtful labels as one HTML file with a picture of each, see ``ssd_edge.page``."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ssd_edge.data.dataset import Image, read_image
from ssd_edge.data.images import jpeg_thumbnail
from ssd_edge.failures.labels import Doubt
from ssd_edge.failures.pictures import UNFOUND, WRONG
from ssd_edge.outputs.draw import Mark, draw_marks
from ssd_edge.outputs.lettering import names_of
from ssd_edge.page import render
from ssd_edge.progress import Progress, no_progress

SHOWN = 100
"""Number of pictures: more than a person looks at in one go."""

LEGEND = "yellow: as labelled; red: as the model sees it"

_SIDE = 360


def doubts_page(
    doubts: Sequence[Doubt], data: str, model: str, measured: str, summary: str, progress: Progress = no_progress
) -> str:
    """Return the page's HTML, with pictures of the first of the doubts; text from files is escaped.

    Args:
        doubts: the doubts, worst first.
        data: name of the data set.
        model: name of the model.
        measured: what was looked at, in words.
        summary: what was found, in words.
        progress: called with (done, total) after each picture.

    Raises:
        MissingDependencyError: Jinja is not installed.
        DataError: an image cannot be read any more.
    """
    first = doubts[:SHOWN]
    shown = []
    for done, doubt in enumerate(first, start=1):
        shown.append((doubt, jpeg_thumbnail(draw_doubt(read_image(doubt.image), doubt), _SIDE)))
        progress(done, len(first))
    return render(
        "ssd_edge.failures",
        "doubts.html",
        "--report",
        {},
        data=data,
        model=model,
        measured=measured,
        summary=summary,
        legend=LEGEND,
        shown=shown,
    )


def draw_doubt(image: Image, doubt: Doubt) -> Image:
    """Draw the surroundings of a doubtful box, enlarged if it is small: (height, width, 3) uint8 BGR."""
    both = np.asarray([doubt.box, doubt.suggested_box], np.float32)
    (x1, y1), (x2, y2) = both[:, :2].min(axis=0), both[:, 2:].max(axis=0)
    half = max(x2 - x1, y2 - y1, 24.0) * 1.1  # as much around the boxes as they take
    middle_x, middle_y = (x1 + x2) / 2, (y1 + y2) / 2
    left, top = max(0, int(middle_x - half)), max(0, int(middle_y - half))
    right, bottom = min(image.shape[1], int(middle_x + half) + 1), min(image.shape[0], int(middle_y + half) + 1)
    part = image[top:bottom, left:right]
    factor = _SIDE / max(part.shape[:2])
    size = max(1, round(part.shape[1] * factor)), max(1, round(part.shape[0] * factor))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    picture = np.asarray(cv2.resize(part, size, interpolation=way), np.uint8)
    given, seen = (
        names_of((doubt.label, doubt.suggested_label)) if doubt.label else names_of(("", doubt.suggested_label))
    )
    offset = np.asarray([left, top, left, top], np.float32)
    marks = [Mark((both[1] - offset) * np.float32(factor), seen, seen.text, WRONG)]
    if doubt.label:
        marks.append(Mark((both[0] - offset) * np.float32(factor), given, given.text, UNFOUND))
    return draw_marks(picture, marks)
