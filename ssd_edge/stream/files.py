"""Source that reads pictures, and what OpenCV tells of a camera's frames."""

from __future__ import annotations

import re
from pathlib import Path
from time import monotonic

import cv2

from ssd_edge.data.picture import read_picture
from ssd_edge.errors import DataError, SourceError
from ssd_edge.stream.encoded import Encoded
from ssd_edge.stream.frames import Frame, Source

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


class ImageSource(Source):
    """Source of picture files; a picture that cannot be decoded is skipped and counted.

    Args:
        path: the folder or file that the user named.
        files: the pictures, in order.
    """

    def __init__(self, path: Path, files: list[Path]) -> None:
        super().__init__()
        if not files:
            kinds = ", ".join(sorted(IMAGE_SUFFIXES))
            raise SourceError(f"the folder {path} holds no pictures: put files there that end with {kinds}")
        self.name, self.path = str(path), path
        self._files = files
        self._next = 0

    def read(self) -> Frame | None:
        """Read the next picture that can be decoded.

        Raises:
            SourceError: none of the pictures could be decoded.
        """
        while self._next < len(self._files) and not self._stopping.is_set():
            index, self._next = self._next, self._next + 1
            file = self._files[index]
            began = monotonic()
            try:
                picture = read_picture(file)
            except DataError as error:
                self.skipped += 1
                if self.skipped == len(self._files):
                    raise SourceError(f"no picture of {self.name} can be used: {error}") from None
                continue
            now = monotonic()
            encoded = Encoded("picture", picture.data)
            return Frame(picture.image, index, now, file=file.name, took=now - began, encoded=encoded)
        return None


def images_in(folder: Path) -> list[Path]:
    """List the pictures of a folder in natural order, with 2 before 10."""

    def natural(path: Path) -> list[tuple[int, str]]:
        return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", path.name.lower())]

    files = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    return sorted(files, key=natural)


def frame_rate(capture: cv2.VideoCapture) -> float | None:
    """Return the frames per second that the driver or container reports, or None if the value is implausible."""
    fps = capture.get(cv2.CAP_PROP_FPS)
    return fps if 0 < fps < 1000 else None  # 0 and 90000 are reported if the rate is unknown
