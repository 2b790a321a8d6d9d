"""Show what was collected as one HTML page: each frame with its boxes and the reasons for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from ssd_edge.data.files import LabelsError
from ssd_edge.data.images import jpeg_thumbnail
from ssd_edge.data.picture import read_picture
from ssd_edge.data.voc_xml import parse, read_root
from ssd_edge.errors import DataError
from ssd_edge.outputs.collect.folder import COLLECTED, LABELS, PICTURES
from ssd_edge.outputs.collect.reasons import KINDS
from ssd_edge.outputs.draw import PALETTE, Mark, draw_marks
from ssd_edge.outputs.lettering import names_of
from ssd_edge.page import render
from ssd_edge.pixels import Image
from ssd_edge.progress import Progress, no_progress

SHOWN = 200
"""Most pictures on a page; the newest are shown."""

_SIDE = 480


class Collected(NamedTuple):
    """A frame that was collected.

    Attributes:
        picture: its file.
        camera: the camera's name; "" if it has none.
        reasons: pairs of a key of ``KINDS`` and a sentence; none for a frame that another program has labelled anew.
        boxes: pairs of a class and ``x1, y1, x2, y2`` in pixels.
    """

    picture: Path
    camera: str
    reasons: tuple[tuple[str, str], ...]
    boxes: tuple[tuple[str, tuple[float, float, float, float]], ...]


class Review(NamedTuple):
    """A collection: its frames in the order of their names, and a sentence for each file that cannot be read."""

    frames: tuple[Collected, ...]
    unread: tuple[str, ...]

    def by_reason(self) -> Mapping[str, int]:
        """Count the frames that have each reason, most frequent first."""
        counts = Counter(kind for frame in self.frames for kind in {kind for kind, _ in frame.reasons})
        return dict(counts.most_common())


def read_collection(path: Path) -> Review:
    """Read what was collected in a folder, whether or not it was labelled since.

    Raises:
        DataError: the folder is none of a collection.
    """
    if not (path / LABELS).is_dir():
        raise DataError(f"{path} has no {LABELS}/, so it is no collection: name the FOLDER of ssd-edge run --collect")
    frames, unread = [], []
    for file in sorted((path / LABELS).glob("[!.]*.xml")):
        try:
            frames.append(_read(path, file))
        except (LabelsError, DataError) as error:
            unread.append(f"{file.name}: {error}")
    return Review(tuple(frames), tuple(unread))


def _read(path: Path, file: Path) -> Collected:
    labelled = parse(file)
    if isinstance(labelled, LabelsError):
        raise labelled
    picture = path / PICTURES / f"{file.stem}.jpg"
    if not picture.is_file():
        raise DataError(f"its picture {PICTURES}/{picture.name} is missing")
    about = read_root(file).find(COLLECTED)
    elements = [] if about is None else about.findall("reason")
    reasons = tuple((element.get("kind", ""), element.text or "") for element in elements)
    camera = "" if about is None else about.findtext("camera") or ""
    return Collected(picture, camera, reasons, tuple((row.key, row.box) for row in labelled.rows))


def review_page(review: Review, name: str, progress: Progress = no_progress) -> str:
    """Return the page's HTML; text from files is escaped.

    Args:
        review: the collection.
        name: its name.
        progress: called with (done, total) after each picture.

    Raises:
        MissingDependencyError: Jinja is not installed.
    """
    newest, unread = review.frames[: -SHOWN - 1 : -1], list(review.unread)
    labels = sorted({label for frame in newest for label, _ in frame.boxes})
    shown = []
    for done, frame in enumerate(newest, start=1):
        try:
            image = read_picture(frame.picture).image
        except DataError as error:
            unread.append(str(error))
        else:
            shown.append((frame, jpeg_thumbnail(draw_collected(image, frame, labels), _SIDE)))
        progress(done, len(newest))
    return render(
        "ssd_edge.outputs.collect",
        "review.html",
        "collect review",
        {"meaning": lambda kind: KINDS.get(kind, kind)},
        folder=name,
        total=len(review.frames),
        counts=review.by_reason(),
        shown=shown,
        unread=unread,
    )


def draw_collected(image: Image, frame: Collected, labels: Sequence[str]) -> Image:
    """Draw the boxes of a frame, reduced to a page's size: (height, width, 3) uint8 BGR.

    Args:
        image: the frame, (height, width, 3) uint8 BGR.
        frame: what is known of it.
        labels: all classes of the page, which give the colours.
    """
    factor = min(1.0, _SIDE / max(image.shape[:2]))
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    names = dict(zip(labels, names_of(tuple(labels)), strict=True))
    marks = [
        Mark(
            np.asarray(box, np.float32) * np.float32(factor),
            names[label],
            names[label].text,
            PALETTE[labels.index(label) % len(PALETTE)],
        )
        for label, box in frame.boxes
        if np.isfinite(box).all()
    ]
    return draw_marks(small, marks)
