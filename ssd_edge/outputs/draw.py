"""Draw boxes with labels that can be read on small and large, light and dark frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ssd_edge.detections import Detections
from ssd_edge.outputs.lettering import Name, extent, names_of, write
from ssd_edge.pixels import Image
from ssd_edge.tracking.places import in_pixels
from ssd_edge.tracking.plan import Line, Zone
from ssd_edge.tracking.watch import Watched

# BGR; neighbours differ in hue and lightness, so that the classes of a small model are easy to tell apart.
PALETTE: tuple[tuple[int, int, int], ...] = (
    (61, 185, 255),  # amber
    (235, 160, 60),  # blue
    (120, 205, 60),  # green
    (90, 90, 245),  # red
    (225, 110, 190),  # violet
    (210, 215, 60),  # cyan
    (150, 120, 255),  # pink
    (60, 225, 225),  # yellow
    (170, 145, 40),  # petrol
    (50, 120, 240),  # orange
    (200, 90, 90),  # indigo
    (110, 175, 150),  # sage
    (190, 170, 235),  # rose
    (70, 140, 110),  # olive
    (235, 200, 165),  # ice
    (75, 95, 165),  # brown
)

_PLACE = (240, 240, 240)
"""Of zones and lines."""


def annotate(image: Image, detections: Detections, labels: Sequence[str], *, note: str = "") -> Image:
    """Copy a frame and draw boxes on it, each with label and score; line and text sizes follow the frame's size.

    Args:
        image: (height, width, 3) uint8 BGR; not changed.
        detections: detections in pixels of the frame.
        labels: class names in any script, as in the model's spec; see ``lettering.names_not_shown``.
        note: short text for the upper left corner.

    Returns:
        (height, width, 3) uint8 BGR.
    """
    names = names_of(tuple(labels))
    ids = [f" #{number}" for number in detections.ids.tolist()] if isinstance(detections, Watched) else None
    marks = [
        Mark(box, names[label], f"{names[label].text}{which} {score:.2f}", PALETTE[label % len(PALETTE)])
        for box, score, label, which in zip(
            detections.boxes, detections.scores, detections.labels.tolist(), ids or [""] * len(detections), strict=True
        )
    ]
    if not isinstance(detections, Watched):
        return draw_marks(image, marks, note=note)
    picture = draw_marks(_with_places(image, detections), marks, note=note)
    _tag_places(picture, detections)
    return picture


def _corners(place: Zone | Line, image: Image) -> npt.NDArray[np.int32]:
    """Return a place's (N, 2) points in pixels of the picture; what ends at the frame's edge is drawn inside it."""
    points = np.minimum(in_pixels(place.points, image.shape[:2]), np.array(image.shape[1::-1]) - 1)
    return np.asarray(points.round(), np.int32)


def _with_places(image: Image, watched: Watched) -> Image:
    """Copy a frame and draw its zones and lines; a line has a dot at its first point."""
    picture = image.copy()
    weight = max(1, round(1.6 * min(image.shape[:2]) / 480))
    for place in watched.places:
        points = _corners(place, image)
        cv2.polylines(picture, [points], isinstance(place, Zone), _PLACE, weight, cv2.LINE_AA)
        if isinstance(place, Line):
            cv2.circle(picture, points[0].tolist(), 3 * weight, _PLACE, cv2.FILLED, cv2.LINE_AA)
    return picture


def _tag_places(picture: Image, watched: Watched) -> None:
    """Write the name of each zone and line at its first point, and what has been counted there, of all classes."""
    size = max(0.36, 0.42 * min(picture.shape[:2]) / 480)
    names = names_of(tuple(place.name for place in watched.places))
    for place, name in zip(watched.places, names, strict=True):
        numbers = {what: sum(by_class.values()) for what, by_class in watched.counts[place.name].items()}
        text = f"{name.text}: {', '.join(f'{number} {what}' for what, number in numbers.items())}"
        x, y = _corners(place, picture)[0].tolist()
        _tag(picture, name, text, (x, y), _PLACE, size)


@dataclass(frozen=True, eq=False)
class Mark:
    """A box to draw, with a text.

    Attributes:
        box: (4,) ``x1, y1, x2, y2`` in pixels of the picture.
        name: the class name, which gives the text its font.
        text: what stands in the tag; "" for a box without a tag.
        colour: BGR.
    """

    box: npt.NDArray[np.float32]
    name: Name
    text: str
    colour: tuple[int, int, int]


def draw_marks(image: Image, marks: Sequence[Mark], *, note: str = "") -> Image:
    """Copy a frame and draw boxes with their texts on it, the first of them on top; see ``annotate``.

    Args:
        image: (height, width, 3) uint8 BGR; not changed.
        marks: the boxes.
        note: short text for the upper left corner.
    """
    picture = image.copy()
    scale = min(image.shape[:2]) / 480
    weight, size = max(1, round(1.6 * scale)), max(0.36, 0.42 * scale)
    corners = [tuple(round(float(edge)) for edge in mark.box) for mark in marks]
    # The first is drawn last, so that its tag is on top; tags are drawn after all boxes, so that no line crosses text.
    order = range(len(marks) - 1, -1, -1)
    for i in order:
        cv2.rectangle(picture, corners[i][:2], corners[i][2:], marks[i].colour, weight, cv2.LINE_AA)
    for i in order:
        if marks[i].text:
            corner = (corners[i][0] - weight // 2, corners[i][1])
            _tag(picture, marks[i].name, marks[i].text, corner, marks[i].colour, size)
    if note:
        _tag(picture, Name(note), note, (0, 0), (30, 30, 30), size)
    return picture


def _tag(
    picture: Image, name: Name, text: str, corner: tuple[int, int], colour: tuple[int, int, int], size: float
) -> None:
    """Draw a filled tag above ``corner``, or below it if there is no room; always inside the picture."""
    room = extent(name, text, size)
    pad = max(2, round(room.height * 0.45))
    full_w, full_h = room.width + 2 * pad, room.height + room.depth + pad
    x = max(0, min(corner[0], picture.shape[1] - full_w))
    y = corner[1] - full_h if corner[1] >= full_h else max(0, corner[1])
    y = min(y, max(0, picture.shape[0] - full_h))
    cv2.rectangle(picture, (x, y), (x + full_w, y + full_h), colour, cv2.FILLED)
    blue, green, red = colour
    dark = 0.114 * blue + 0.587 * green + 0.299 * red < 130
    ink = (255, 255, 255) if dark else (20, 20, 20)
    write(picture, name, text, (x + pad, y + pad // 2 + room.height), size, ink)
