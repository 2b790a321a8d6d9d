"""Write detections as lines of JSON."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from ssd_edge.detections import Detections
from ssd_edge.errors import SinkError
from ssd_edge.outputs.growing import GrowingFile
from ssd_edge.outputs.pieces import Pieces
from ssd_edge.outputs.plain import plain
from ssd_edge.outputs.sharing import Shared
from ssd_edge.outputs.sink import Sink, StopLoop, cannot_write
from ssd_edge.stream.frames import Frame


class JsonLines(Sink):
    """Sink that writes one line of JSON per frame and flushes it, so that ``tail -f`` and a crash see only whole lines.

    ``{"index": 7, "time": 0.233, "file": null, "detections": [{"label": "bolt", "score": 0.91,
    "box": [x1, y1, x2, y2]}], "num_cut": 0}``: time is seconds since the source's start, box is in pixels. Objects that
    are followed have an ``id`` too, and the line has ``events`` and ``counts``; see docs/tracking.md.

    Several cameras may write to one file: sinks of one path share it.

    Args:
        path: the file; or ``-`` for stdout. See ``Pieces`` for what is overwritten.
        labels: class names, as in the model's spec.
        pieces: the files to write; by default ``path`` alone. One that was begun is continued.
        camera: begins each line, as ``"camera": NAME``; empty for lines without it.

    Raises:
        SinkError: the file cannot be created.
    """

    tells_events = True

    def __init__(self, path: str | Path, labels: Sequence[str], pieces: Pieces | None = None, camera: str = "") -> None:
        self._labels, self._camera = labels, {"camera": camera} if camera else {}
        self._file: _File | None = None
        if str(path) != "-":
            self._file = _FILES.take(Path(path).resolve(), lambda: _File(pieces or Pieces(Path(path))))
            self.path = self._file.path

    @classmethod
    def opened(
        cls, target: str, labels: Sequence[str], fps: float | None, *, pieces: Pieces | None = None, camera: str = ""
    ) -> JsonLines:
        """See ``catalogue.open_sink``."""
        return cls(target, labels, pieces, camera)

    def write(self, frame: Frame, detections: Detections) -> None:
        """Append a line."""
        text = json.dumps({**self._camera, **plain(frame, detections, self._labels)}) + "\n"
        if self._file is not None:
            self._file.append(text.encode())
            self.path = self._file.path
        elif self.path is None:
            _print(text)
        else:
            raise ValueError("this sink is closed")

    def close(self) -> None:
        """Close the file; stdout stays open."""
        file, self._file = self._file, None
        if file is not None:
            _FILES.give_back(file)


class _File:
    """A file of lines, or its pieces; any thread may append."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces, self._lock = pieces, threading.Lock()
        self.usable = True
        file, size = pieces.go_on()
        self._file = GrowingFile(file, pieces.path, size)

    @property
    def path(self) -> Path:
        """The file that is written now."""
        return self._file.path

    def append(self, line: bytes) -> None:
        """Write a line, whole or not at all; after an error nothing more.

        Raises:
            SinkError: it cannot be written.
        """
        with self._lock:
            try:
                self._append(line)
            except SinkError:
                self.usable = False
                raise

    def _append(self, line: bytes) -> None:
        self._pieces.check()
        if self._file.size and self._pieces.full(self._file.size, self._file.seconds):
            self.close()
            self._file = GrowingFile(self._pieces.begin(), self._pieces.path)
        self._file.append(line)

    def close(self) -> None:
        """Close the file.

        Raises:
            SinkError: the rest cannot be written.
        """
        try:
            self._file.close()
        finally:
            self._pieces.end()


_FILES: Shared[_File] = Shared()


def _print(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader, such as `head`, has ended. Python flushes stdout again at exit, which would fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise StopLoop from None
    except OSError as error:
        raise cannot_write("standard output", error) from None
