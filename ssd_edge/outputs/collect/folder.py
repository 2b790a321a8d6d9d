"""The data set that is collected: Pascal VOC, a picture and an XML file for each frame, whole or not at all."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import cv2
import numpy as np

from ssd_edge.data.files import LabelsError
from ssd_edge.data.likeness import Look, look_of
from ssd_edge.data.voc_write import Object, annotation, put
from ssd_edge.data.voc_xml import read_root
from ssd_edge.files import stamp, written_whole
from ssd_edge.outputs.collect.reasons import Hard
from ssd_edge.outputs.sink import cannot_write

PICTURES, LABELS = "JPEGImages", "Annotations"

COLLECTED = "collected"
"""The element of an XML file that says how and why a frame was collected; readers of VOC pass over it."""

_NAME = re.compile(r"(?P<prefix>.*)-(?P<number>\d{8})-\d{8}T\d{6}Z")
_LOOK = 288


class Written(NamedTuple):
    """A frame as it was written.

    Attributes:
        picture, labels: its files.
        size: their bytes.
        stamp: what changes when its labels are corrected.
    """

    picture: Path
    labels: Path
    size: int
    stamp: tuple[int, int]

    def is_untouched(self) -> bool:
        """Tell whether both files are there still, and nobody has corrected the labels."""
        try:
            return self.picture.exists() and stamp(self.labels) == self.stamp
        except OSError:
            return False


class Folder:
    """A collection on the disk, which may hold frames of earlier runs.

    Args:
        path: the folder, which is made if it does not exist.
        prefix: begins the names of new frames.

    Raises:
        SinkError: the folder cannot be made or read.
    """

    def __init__(self, path: Path, prefix: str) -> None:
        self.path, self._prefix = path, prefix
        try:
            for name in (PICTURES, LABELS):
                (path / name).mkdir(parents=True, exist_ok=True)
            self._remove_halves()
        except OSError as error:
            raise cannot_write(path, error) from None
        numbers = [int(match["number"]) for file in self._files() if (match := _NAME.fullmatch(file.stem))]
        self._number = max(numbers, default=0)

    def measure(self) -> tuple[int, int]:
        """Return the number of frames, and of bytes, that are there now."""
        sizes = {}
        for file in self._files():
            with suppress(FileNotFoundError):  # someone takes it away
                sizes[file] = file.stat().st_size
        return sum(file.suffix == ".xml" for file in sizes), sum(sizes.values())

    def looks(self) -> Iterator[Look]:
        """Yield the look of each frame; of one whose XML file was written anew by another program, from its picture."""
        for file in sorted((self.path / LABELS).glob("*.xml")):
            with suppress(LabelsError, ValueError):
                text = read_root(file).findtext(f"{COLLECTED}/look")
                look = _look_from(text) if text else self._look_of_picture(file)
                if look is not None:
                    yield look

    def add(self, hard: list[Hard], jpeg: bytes, objects: list[Object], about: dict[str, str], look: Look) -> Written:
        """Write a frame.

        Args:
            hard: the reasons, all of one frame.
            jpeg: its picture.
            objects: the boxes that are suggested.
            about: further facts for its XML file.
            look: its look.

        Raises:
            SinkError: it cannot be written; then nothing of it is there.
        """
        frame = hard[0].shot.frame
        self._number += 1
        name = f"{self._prefix}-{self._number:08d}-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}"
        picture, labels = self.path / PICTURES / f"{name}.jpg", self.path / LABELS / f"{name}.xml"
        more = ElementTree.Element(COLLECTED)
        for tag, text in about.items():
            put(more, tag, text)
        for one in hard:
            put(more, "reason", one.text, kind=one.kind)
        put(more, "look", b64encode(look.astype("<f2").tobytes()).decode())
        labelled = annotation(picture.name, frame.image.shape[:2], objects, more)
        try:
            with written_whole(picture) as partial:
                partial.write_bytes(jpeg)
            with written_whole(labels) as partial:
                partial.write_bytes(labelled)
            return Written(picture, labels, len(jpeg) + len(labelled), stamp(labels))
        except OSError as error:
            picture.unlink(missing_ok=True)
            raise cannot_write(labels, error) from None

    def remove(self, frame: Written) -> None:
        """Remove a frame, unless someone has just taken it away.

        Raises:
            SinkError: it cannot be removed.
        """
        half = frame.labels.with_name(f".{frame.labels.name}.part")
        try:
            with suppress(FileNotFoundError):
                frame.labels.rename(half)  # so that the next start finishes what a power cut ends here
                frame.picture.unlink(missing_ok=True)
                half.unlink()
        except OSError as error:
            raise cannot_write(frame.labels, error) from None

    def _files(self) -> Iterator[Path]:
        for name in (PICTURES, LABELS):
            yield from (self.path / name).glob("[!.]*")

    def _remove_halves(self) -> None:
        """Remove what a power cut left of a frame: its picture comes before its labels, and goes after them."""
        for file in (self.path / LABELS).glob(".*.xml*.part"):
            match = _NAME.match(file.name[1:])
            if match and not (self.path / LABELS / f"{match[0]}.xml").exists():
                (self.path / PICTURES / f"{match[0]}.jpg").unlink(missing_ok=True)
        labelled = {file.stem for file in (self.path / LABELS).glob("*.xml")}
        last = max((match["number"] for stem in labelled if (match := _NAME.fullmatch(stem))), default="")
        for file in (self.path / PICTURES).glob("*.jpg"):
            match = _NAME.fullmatch(file.stem)
            if match and match["number"] > last and file.stem not in labelled:
                file.unlink()
        for folder in (PICTURES, LABELS):
            for file in (self.path / folder).glob(".*.part"):
                if _NAME.match(file.name[1:]):
                    file.unlink(missing_ok=True)

    def _look_of_picture(self, labels: Path) -> Look | None:
        image = cv2.imread(str(self.path / PICTURES / f"{labels.stem}.jpg"), cv2.IMREAD_REDUCED_COLOR_4)
        return None if image is None else look_of(np.asarray(image, np.uint8))


def _look_from(text: str) -> Look | None:
    look = np.frombuffer(b64decode(text), "<f2").astype(np.float32)
    return look if look.shape == (_LOOK,) and np.isfinite(look).all() else None
