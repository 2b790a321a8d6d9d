"""``Sink``, the interface of all outputs."""

from __future__ import annotations

import errno
import tempfile
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ssd_edge.detections import Detections
from ssd_edge.errors import SinkError
from ssd_edge.stream.durations import Percentiles
from ssd_edge.stream.frames import Frame


class StopLoop(Exception):  # noqa: N818 - not an error
    """Raised by a sink to end the loop: the user closed the window, or the reader of a pipe has ended."""


class DiskFullError(SinkError):
    """There is no room for an output now; there may be later."""


@dataclass(frozen=True)
class OutputReport:
    """What an output with a thread of its own has done so far.

    Attributes:
        name: name for people, such as ``video``.
        state: ``writing``; ``waiting``, to be opened again; ``slow``, frames are dropped since it does not keep up; or
            ``closed``.
        written: number of frames written.
        dropped: number of frames that were not, by reason; see ``DROPPED``.
        reopened: number of times that it was opened again.
        last_error: sentence on its last error; empty if there was none.
        queued: number of frames that wait to be written.
        age: time from a frame's capture until it was written, in seconds.
        late_events: number of events of frames that it lacks which a later frame told.
        lost_events: number of events that it never told.
    """

    name: str
    state: str
    written: int
    dropped: Mapping[str, int]
    reopened: int
    last_error: str
    queued: int
    age: Percentiles
    late_events: int = 0
    lost_events: int = 0

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``."""
        return {**asdict(self), "age": self.age._asdict()}


class Sink(AbstractContextManager["Sink"]):
    """An output that gets frames with their detections, in order.

    Attributes:
        every: whether it gets every detection, down to the lowest score that anyone reads, not only what is shown.
        tells_events: whether it tells what happened, so that events of frames which it lacks are to be told later.
        heavy: whether writing is slow enough to be worth a thread of its own.
        name: name for people, such as ``video``; ``open_sink`` gives it.
        path: the file or folder that it writes, if any.
        loop_thread: whether only the thread that runs the loop may close it, as with windows.
    """

    every: bool = False
    tells_events: bool = False
    heavy: bool = False
    name: str = ""
    loop_thread: bool = False
    path: Path | None = None

    @classmethod
    def check(cls, target: str) -> None:
        """Refuse a target of the wrong form; nothing is opened.

        Raises:
            SinkError: it has the wrong form.
        """

    @abstractmethod
    def write(self, frame: Frame, detections: Detections) -> None:
        """Write one frame.

        Raises:
            SinkError: the frame cannot be written.
            StopLoop: the user wants to end the loop.
        """

    def idle(self) -> None:
        """Do regular work while no frame comes; called several times a second."""

    def report(self) -> OutputReport | None:
        """Report what was written; None for a sink that writes in the loop's own thread. Any thread may call it."""
        return None

    def close(self) -> None:
        """Finish writing; may be called twice.

        Raises:
            SinkError: the rest cannot be written.
        """

    def __exit__(self, *exception: object) -> None:
        self.close()


def cannot_write(what: str | Path, error: OSError) -> SinkError:
    """Make the error for something that cannot be written."""
    kind = DiskFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else SinkError
    return kind(f"cannot write {what}: {error.strerror or error}")


def check_folder(path: Path) -> None:
    """Check that a file can be made in a path's folder, without leaving one there.

    Raises:
        SinkError: it cannot, or the path is a folder.
    """
    if path.is_dir():
        raise SinkError(f"cannot write {path}: Is a directory")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise cannot_write(path, error) from None
