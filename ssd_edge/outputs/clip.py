"""One clip being recorded, and the JSON file of what happened in it."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from io import FileIO
from pathlib import Path
from time import monotonic
from typing import Any

from ssd_edge.files import write_text_whole
from ssd_edge.outputs.happenings import Happening
from ssd_edge.outputs.plain import time_of, utc
from ssd_edge.outputs.preroll import Shot
from ssd_edge.outputs.recording import Recording
from ssd_edge.outputs.sink import cannot_write

_AT_ONCE = 3  # frames encoded for each one that comes, so that those before the event do not hold up what follows


class Clip:
    """A clip being recorded.

    Args:
        file: the new, empty video file, which is closed here.
        path: its path; the JSON file is named alike.
        fps: see ``Recording``.
        camera: the camera's name.
        after: seconds that it goes on after the last event.
        shots: the frames up to the first event, with its own; at least that.

    Attributes:
        until: time at which it ends, on the clock of the source.
    """

    def __init__(
        self, file: FileIO, path: Path, fps: Fraction, camera: str, after: float, shots: Sequence[Shot]
    ) -> None:
        self.path, self._camera, self._after = path, camera, after
        self._first, self._last, self.until = shots[0], shots[-1], shots[-1].at + after
        self._event = shots[-1]
        height, width = shots[0].size
        self._recording = Recording(file, path, fps, (width, height))
        self._waiting, self._frames = deque(shots), len(shots)
        self._events: list[dict[str, Any]] = []
        self._told, self._told_at = 0, 0.0  # events in the JSON file, and when it was written

    @property
    def length(self) -> float:
        """Seconds from its first frame to its last."""
        return self._last.at - self._first.at

    @property
    def size(self) -> int:
        """Bytes of video on the disk so far."""
        return self._recording.size

    def add(self, shot: Shot) -> None:
        """Add the next frame."""
        self._waiting.append(shot)
        self._last, self._frames = shot, self._frames + 1

    def note(self, happening: Happening, shot: Shot) -> None:
        """Note what happened in the last frame, or before it in one that is lacking; the clip goes on from the last."""
        self.until = shot.at + self._after
        at, when, index, late = shot.at, utc(shot.wall), shot.index, happening.late
        if late is not None:
            at = late.captured if late.position is None else late.position
            when, index = time_of(late), late.index
        self._events.append({"at": round(at - self._first.at, 3), "time": when, "index": index, **happening.fields})

    def encode_some(self) -> None:
        """Encode some of the frames that wait for it."""
        for _ in range(min(_AT_ONCE, len(self._waiting))):
            shot = self._waiting.popleft()
            self._recording.add(shot.picture(), shot.at)

    def keep_up(self) -> None:
        """Write the JSON file if there are new events, but not more than once a second.

        Raises:
            SinkError: it cannot be written.
        """
        if len(self._events) > self._told and (not self._told or monotonic() - self._told_at >= 1.0):
            self._told, self._told_at = len(self._events), monotonic()
            self._write_about(complete=False)

    def _write_about(self, complete: bool) -> None:
        about = {
            "camera": self._camera,
            "video": self.path.name,
            "began": utc(self._first.wall),
            "seconds": round(self.length, 3),
            "before": round(self._event.at - self._first.at, 3),
            "frames": self._frames,
            "complete": complete,
            "events": self._events,
        }
        path = self.path.with_suffix(".json")
        try:
            write_text_whole(path, json.dumps(about, ensure_ascii=False, indent=1) + "\n")
        except OSError as error:
            raise cannot_write(path, error) from None

    def close(self) -> None:
        """Encode the rest and finish both files.

        Raises:
            SinkError: one of them cannot be written.
        """
        try:
            while self._waiting:
                self.encode_some()
        finally:
            self._recording.close()
        self._write_about(complete=True)
