"""Write annotated pictures into a folder."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import cv2

from ssd_edge.detections import Detections
from ssd_edge.errors import SinkError
from ssd_edge.files import sync, sync_folder
from ssd_edge.outputs.draw import annotate
from ssd_edge.outputs.file_names import numbered_name
from ssd_edge.outputs.sink import Sink, cannot_write
from ssd_edge.outputs.syncing import Syncing
from ssd_edge.stream.frames import Frame

_MOST_OF_JPEG = 65500
"""JPEG_MAX_DIMENSION of libjpeg."""


class Images(Sink):
    """Sink that writes annotated JPEG files, named as in ``numbered_name``.

    Args:
        path: the folder, which is made if it does not exist.
        labels: class names, as in the model's spec.
        quality: quality of the JPEG files, 0 … 100.

    Raises:
        SinkError: the folder cannot be made.
    """

    heavy = True

    def __init__(self, path: str | Path, labels: Sequence[str], quality: int = 92) -> None:
        self.path: Path = Path(path)
        self._labels, self._quality = labels, quality
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.path, error) from None
        self._not_synced: deque[Path] = deque()
        self._syncing: Syncing | None = Syncing(self._sync)

    def _sync(self) -> None:
        while self._not_synced:
            with suppress(FileNotFoundError):  # removed since
                sync(self._not_synced.popleft())
        sync_folder(self.path)

    @classmethod
    def opened(cls, target: str, labels: Sequence[str], fps: float | None) -> Images:
        """See ``catalogue.open_sink``."""
        return cls(target, labels)

    def write(self, frame: Frame, detections: Detections) -> None:
        """Write one file."""
        name = numbered_name(frame.index, frame.file)
        picture = annotate(frame.image, detections, self._labels)
        if max(picture.shape[:2]) > _MOST_OF_JPEG:
            raise SinkError(
                f"cannot write {self.path / name}: a JPEG is at most {_MOST_OF_JPEG} pixels wide and high, but this "
                f"frame is {picture.shape[1]}×{picture.shape[0]}: use --save-json"
            )
        _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, self._quality])
        try:
            if self._syncing is not None:
                self._syncing.check()
            (self.path / name).write_bytes(data.tobytes())
        except OSError as error:
            (self.path / name).unlink(missing_ok=True)
            raise cannot_write(self.path / name, error) from None
        self._not_synced.append(self.path / name)

    def close(self) -> None:
        """Wait until all files are on the disk."""
        syncing, self._syncing = self._syncing, None
        if syncing is not None:
            try:
                syncing.close()
            except OSError as error:
                raise cannot_write(self.path, error) from None
