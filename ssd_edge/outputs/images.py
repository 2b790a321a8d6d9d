"""Write annotated pictures into a folder."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

from ssd_edge.detections import Detections
from ssd_edge.files import sync, sync_folder
from ssd_edge.outputs.draw import annotate
from ssd_edge.outputs.file_names import numbered_name
from ssd_edge.outputs.gallery import marked
from ssd_edge.outputs.jpeg import as_jpeg
from ssd_edge.outputs.sink import Sink, cannot_write
from ssd_edge.outputs.space import Space
from ssd_edge.outputs.syncing import Syncing
from ssd_edge.stream.frames import Frame


class Images(Sink):
    """Sink that writes annotated JPEG files, named as in ``numbered_name`` and marked as in ``gallery``.

    Args:
        path: the folder, which is made if it does not exist.
        labels: class names, as in the model's spec.
        quality: quality of the JPEG files, 0 … 100.
        space: the room that is left on the disk; None for all.

    Raises:
        SinkError: the folder cannot be made.
    """

    heavy = True

    def __init__(self, path: str | Path, labels: Sequence[str], quality: int = 92, space: Space | None = None) -> None:
        self.path: Path = Path(path)
        self._labels, self._quality, self._space = labels, quality, space
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.path, error) from None
        self._gallery = None
        if space is not None:
            self._gallery = space.gallery(self.path)
            space.check(self.path, now=True)
        self._not_synced: deque[Path] = deque()
        self._syncing: Syncing | None = Syncing(self._sync)

    def _sync(self) -> None:
        while self._not_synced:
            with suppress(FileNotFoundError):  # removed since
                sync(self._not_synced.popleft())
        sync_folder(self.path)

    @classmethod
    def opened(cls, target: str, labels: Sequence[str], fps: float | None, *, space: Space | None = None) -> Images:
        """See ``catalogue.open_sink``."""
        return cls(target, labels, space=space)

    def write(self, frame: Frame, detections: Detections) -> None:
        """Write one file."""
        if self._space is not None:
            self._space.check(self.path)
        name = numbered_name(frame.index, frame.file)
        picture = annotate(frame.image, detections, self._labels)
        data = marked(as_jpeg(picture, self._quality, str(self.path / name)))
        noted = nullcontext() if self._gallery is None else self._gallery.writing(name, len(data))
        try:
            if self._syncing is not None:
                self._syncing.check()
            with noted:
                (self.path / name).write_bytes(data)
        except OSError as error:
            with suppress(OSError):
                (self.path / name).unlink()
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
