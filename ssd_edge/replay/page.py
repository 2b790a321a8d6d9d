"""What two sides find in one recording, as one HTML file; see ``ssd_edge.page``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ssd_edge.data.images import jpeg_thumbnail
from ssd_edge.evaluation.intervals import Interval
from ssd_edge.outputs.draw import Mark, draw_marks
from ssd_edge.outputs.lettering import names_of
from ssd_edge.page import render
from ssd_edge.pixels import Image, to_bgr
from ssd_edge.progress import Progress, no_progress
from ssd_edge.replay.differences import BLOCK, LEAST_BLOCKS, SAME_PLACE, Differences, Seen, Unmatched
from ssd_edge.replay.pictures import decoded
from ssd_edge.replay.reading import Recording
from ssd_edge.replay.sides import Side

WORST = 24
"""Number of frames on the sheet."""

BOTH, FIRST, SECOND = (120, 205, 60), (235, 160, 60), (61, 150, 255)
"""BGR: green, blue, orange."""

_LONGEST = 480


class _Figure(NamedTuple):
    where: str
    jpeg: bytes
    words: str


def page(recording: Recording, sides: tuple[Side, Side], found: Differences, progress: Progress = no_progress) -> str:
    """Return the page's HTML; names from files are escaped.

    Args:
        recording: the recording.
        sides: the two sides.
        found: their differences.
        progress: called with (done, total) after each picture.

    Raises:
        MissingDependencyError: Jinja is not installed.
        RecordingError: a frame cannot be read any more.
    """
    figures = []
    for seen, alone in found.worst:
        figures.append(_figure(seen, alone, recording.labels, sides))
        progress(len(figures), len(found.worst))
    return render(
        "ssd_edge.replay",
        "comparison.html",
        "--page",
        {"share": _share},
        recording=recording,
        first=sides[0].name,
        second=sides[1].name,
        speeds=[(side.name, side.speed) for side in sides],
        d=found,
        figures=figures,
        same_place=SAME_PLACE,
        block=BLOCK,
        least_blocks=LEAST_BLOCKS,
    )


def _figure(seen: Seen, alone: Unmatched, labels: Sequence[str], sides: tuple[Side, Side]) -> _Figure:
    shot = seen.section.shot_at(seen.offset)
    picture = drawn(to_bgr(decoded(shot.picture)), seen, alone, labels)
    counts = ((int(alone.first.sum()), sides[0].name), (int(alone.second.sum()), sides[1].name))
    words = ", ".join(f"{number} only {name}" for number, name in counts if number)
    where = shot.file or f"frame {shot.index}" + ("" if shot.position is None else f", {shot.position:.2f} s")
    return _Figure(where, jpeg_thumbnail(picture, _LONGEST), words)


def drawn(image: Image, seen: Seen, alone: Unmatched, labels: Sequence[str]) -> Image:
    """Draw what both find in green, what the first alone finds in blue, and the second alone in orange.

    Args:
        image: (height, width, 3) uint8 BGR; scaled to 480 pixels of the longer side, but at most three times.
        seen: what was found in it.
        alone: what the other side does not have.
        labels: class names.
    """
    factor = np.float32(min(3.0, _LONGEST / max(image.shape[:2])))  # small frames grow, or tags would hide them
    size = max(1, round(image.shape[1] * float(factor))), max(1, round(image.shape[0] * float(factor)))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    scaled = np.asarray(cv2.resize(image, size, interpolation=way), np.uint8)
    names, marks = names_of(tuple(labels)), []
    for found, only, colour in ((seen.first, alone.first, FIRST), (seen.second, alone.second, SECOND)):
        for box, score, label in zip(found.boxes[only], found.scores[only], found.labels[only].tolist(), strict=True):
            marks.append(Mark(box * factor, names[label], f"{names[label].text} {score:.2f}", colour))
    for box, label in zip(seen.first.boxes[~alone.first], seen.first.labels[~alone.first].tolist(), strict=True):
        marks.append(Mark(box * factor, names[label], "", BOTH))
    return draw_marks(scaled, marks)


def _share(pair: tuple[float | None, Interval | None]) -> str:
    value, interval = pair
    if value is None:
        return "–"
    text = f"{100 * value:.1f} %"
    return text if interval is None else f"{text} ({100 * interval.low:.1f} … {100 * interval.high:.1f})"
