"""Sources that read files: pictures and videos."""

from __future__ import annotations

import re
from pathlib import Path
from time import monotonic

import cv2
import numpy as np

from ssd_edge.data.dataset import read_image
from ssd_edge.detector import Image
from ssd_edge.errors import DataError, SourceError
from ssd_edge.files import is_utf8
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
                image = read_image(file)
            except DataError as error:
                self.skipped += 1
                if self.skipped == len(self._files):
                    raise SourceError(f"no picture of {self.name} can be used: {error}") from None
                continue
            now = monotonic()
            return Frame(image, index, now, file=file.name, took=now - began)
        return None


class VideoSource(Source):
    """Source of a video file's frames, as fast as they are read.

    Args:
        path: the file, or its address on a web server.
    """

    def __init__(self, path: Path | str) -> None:
        super().__init__()
        self.name, self.path = str(path), path if isinstance(path, Path) else None
        self._capture = open_video(path)
        self._first = _read(self._capture)
        if self._first is None:
            self._capture.release()
            size = f" of {self.path.stat().st_size} bytes" if self.path else ""
            raise SourceError(f"cannot read {path}{size} as a video: it is damaged, or in a format OpenCV lacks")
        self.fps = frame_rate(self._capture)
        self._index = 0

    def read(self) -> Frame | None:
        """Read the next frame."""
        if self._stopping.is_set():
            return None
        began = monotonic()
        index, self._index = self._index, self._index + 1
        first, self._first = self._first, None
        image = _read(self._capture) if first is None else first
        if image is None:
            return None
        now = monotonic()
        # Frames of a phone's video are not evenly spaced, so the container's own times are used; not all have them.
        position = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 if index else 0.0
        if index and position <= 0:
            position = index / (self.fps or 30)
        return Frame(image, index, now, position, took=now - began)

    def close(self) -> None:
        """Close the file."""
        super().close()
        self._capture.release()


def images_in(folder: Path) -> list[Path]:
    """List the pictures of a folder in natural order, with 2 before 10."""

    def natural(path: Path) -> list[tuple[int, str]]:
        return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", path.name.lower())]

    files = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    return sorted(files, key=natural)


def open_video(path: Path | str) -> cv2.VideoCapture:
    """Open a video in OpenCV, which may be given none but UTF-8 names: on others it crashes.

    Raises:
        SourceError: the name is not UTF-8, on a system other than Linux.
    """
    if is_utf8(path):
        return cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not Path("/proc/self/fd").is_dir():
        raise SourceError(f"the name of {path} is not UTF-8, and OpenCV reads no such file: rename it")
    with Path(path).open("rb") as file:
        return cv2.VideoCapture(f"/proc/self/fd/{file.fileno()}", cv2.CAP_FFMPEG)


def _read(capture: cv2.VideoCapture) -> Image | None:
    ok, image = capture.read()
    return bgr(image) if ok and image is not None and image.size else None


def bgr(image: object) -> Image:
    """Convert what OpenCV decoded to (height, width, 3), since some cameras give grey images."""
    array = np.asarray(image, np.uint8)
    return np.asarray(cv2.cvtColor(array, cv2.COLOR_GRAY2BGR), np.uint8) if array.ndim == 2 else array


def frame_rate(capture: cv2.VideoCapture) -> float | None:
    """Return the frames per second that the driver or container reports, or None if the value is implausible."""
    fps = capture.get(cv2.CAP_PROP_FPS)
    return fps if 0 < fps < 1000 else None  # 0 and 90000 are reported if the rate is unknown
