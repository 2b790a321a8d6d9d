"""``Sink``, the interface of all outputs."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path

from ssd_edge.detections import Detections
from ssd_edge.errors import SinkError
from ssd_edge.stream.frames import Frame


class StopLoop(Exception):  # noqa: N818 - not an error
    """Raised by a sink to end the loop: the user closed the window, or the reader of a pipe has ended."""


class Sink(AbstractContextManager["Sink"]):
    """An output that gets frames with their detections, in order.

    Attributes:
        heavy: whether writing is slow enough to be worth a thread of its own.
        path: the file or folder that it writes, if any. Existing files are overwritten.
    """

    heavy: bool = False
    path: Path | None = None

    @abstractmethod
    def write(self, frame: Frame, detections: Detections) -> None:
        """Write one frame.

        Raises:
            SinkError: the frame cannot be written.
            StopLoop: the user wants to end the loop.
        """

    def idle(self) -> None:
        """Do regular work while no frame comes; called several times a second."""

    def close(self) -> None:
        """Finish writing; may be called twice.

        Raises:
            SinkError: the rest cannot be written.
        """

    def __exit__(self, *exception: object) -> None:
        self.close()


def cannot_write(what: str | Path, error: OSError) -> SinkError:
    """Make the error for something that cannot be written."""
    return SinkError(f"cannot write {what}: {error.strerror or error}")
