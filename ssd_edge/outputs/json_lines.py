"""Write detections as lines of JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any

from ssd_edge.detections import Detections
from ssd_edge.files import sync_folder, sync_open
from ssd_edge.outputs.sink import Sink, StopLoop, cannot_write
from ssd_edge.outputs.syncing import Syncing
from ssd_edge.stream.frames import Frame
from ssd_edge.tracking.watch import Watched


class JsonLines(Sink):
    """Sink that writes one line of JSON per frame and flushes it, so that ``tail -f`` and a crash see only whole lines.

    ``{"index": 7, "time": 0.233, "file": null, "detections": [{"label": "bolt", "score": 0.91,
    "box": [x1, y1, x2, y2]}], "num_cut": 0}``: time is seconds since the source's start, box is in pixels. Objects that
    are followed have an ``id`` too, and the line has ``events`` and ``counts``; see docs/tracking.md.

    Args:
        path: the file, which is overwritten; or ``-`` for stdout.
        labels: class names, as in the model's spec.

    Raises:
        SinkError: the file cannot be created.
    """

    def __init__(self, path: str | Path, labels: Sequence[str]) -> None:
        self._labels = labels
        self.path = None if str(path) == "-" else Path(path)
        self._file: FileIO | None = None
        self._syncing: Syncing | None = None
        self._size = 0
        if self.path is not None:
            try:
                self._file = self.path.open("wb", buffering=0)
            except OSError as error:
                raise cannot_write(self.path, error) from None
            self._syncing = Syncing(partial(_sync_file, self._file.fileno(), self.path.parent))

    @classmethod
    def opened(cls, target: str, labels: Sequence[str], fps: float | None) -> JsonLines:
        """See ``catalogue.open_sink``."""
        return cls(target, labels)

    def write(self, frame: Frame, detections: Detections) -> None:
        """Append a line."""
        line = {
            "index": frame.index,
            "time": None if frame.position is None else round(frame.position, 3),
            "file": frame.file,
            **_plain(detections, self._labels),
        }
        text = json.dumps(line) + "\n"
        if self.path is None:
            self._print(text)
        else:
            self._append(text.encode())

    def _print(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader, such as `head`, has ended. Python flushes stdout again at exit, which would fail too.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise StopLoop from None
        except OSError as error:
            raise cannot_write("standard output", error) from None

    def _append(self, line: bytes) -> None:
        if self._file is None or self._syncing is None:
            raise ValueError("this sink is closed")
        rest = memoryview(line)
        try:
            self._syncing.check()
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._size)  # remove the partial line
            raise cannot_write(self.path or "", error) from None
        self._size += len(line)

    def close(self) -> None:
        """Close the file; stdout stays open."""
        file, self._file = self._file, None
        if file is not None and self._syncing is not None:
            try:
                with file:
                    self._syncing.close()
            except OSError as error:
                raise cannot_write(self.path or "", error) from None


def _plain(detections: Detections, labels: Sequence[str]) -> dict[str, Any]:
    found: list[dict[str, Any]] = [
        {"label": labels[label], "score": round(score, 4), "box": [round(edge, 1) for edge in box]}
        for box, score, label in zip(
            detections.boxes.tolist(), detections.scores.tolist(), detections.labels.tolist(), strict=True
        )
    ]
    if not isinstance(detections, Watched):
        return {"detections": found, "num_cut": detections.num_cut}
    return {
        "detections": [{"id": number, **one} for number, one in zip(detections.ids.tolist(), found, strict=True)],
        "num_cut": detections.num_cut,
        "events": [event.to_json(labels) for event in detections.events],
        "counts": detections.counts,
    }


def _sync_file(descriptor: int, folder: Path) -> None:
    sync_open(descriptor)
    sync_folder(folder)
