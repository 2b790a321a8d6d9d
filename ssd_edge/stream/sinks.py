"""Sinks, the outputs of the camera loop: a window, JSON lines, pictures. The video sink is in ``video.py``."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from abc import abstractmethod
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any

import cv2

from ssd_edge.detections import Detections
from ssd_edge.errors import SinkError
from ssd_edge.files import sync, sync_folder, sync_open
from ssd_edge.machine.display import session_of
from ssd_edge.stream.draw import annotate
from ssd_edge.stream.file_names import numbered_name
from ssd_edge.stream.frames import Frame
from ssd_edge.stream.stats import Rate
from ssd_edge.stream.syncing import Syncing
from ssd_edge.tracking.watch import Watched

_MOST_OF_JPEG = 65500
"""JPEG_MAX_DIMENSION of libjpeg."""


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


class Background(Sink):
    """Sink that writes to another sink in a thread of its own, at most ``ahead`` frames behind.

    Args:
        sink: the other sink, which nobody else may use until ``close``.
        ahead: number of frames that may be queued; then ``write`` waits.
    """

    def __init__(self, sink: Sink, ahead: int = 4) -> None:
        self.path = sink.path
        self._sink = sink
        self._queue: queue.Queue[tuple[Frame, Detections] | None] = queue.Queue(ahead)
        self._error: BaseException | None = None
        self._raised = False
        self._thread: threading.Thread | None = threading.Thread(target=self._run, name="sink", daemon=True)
        self._thread.start()

    def write(self, frame: Frame, detections: Detections) -> None:
        """Queue a frame; an error raised here belongs to an earlier frame."""
        self._raise()
        self._queue.put((frame, detections))

    def idle(self) -> None:
        """Raise an error of an earlier frame, if any."""
        self._raise()

    def close(self) -> None:
        """Wait until all frames are written."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join()
            with self._sink:
                self._raise()

    def _run(self) -> None:
        # After an error the queue must still be emptied, since a full queue would block ``write`` for ever.
        while (item := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._sink.write(*item)
                except BaseException as error:  # raised again in the loop's thread
                    self._error = error

    def _raise(self) -> None:
        if self._error is not None and not self._raised:
            self._raised = True
            raise self._error


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
                raise _cannot_write(self.path, error) from None
            self._syncing = Syncing(partial(_sync_file, self._file.fileno(), self.path.parent))

    @classmethod
    def opened(cls, target: str, labels: Sequence[str], fps: float | None) -> JsonLines:
        """See ``outputs.open_sink``."""
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
            raise _cannot_write("standard output", error) from None

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
            raise _cannot_write(self.path or "", error) from None
        self._size += len(line)

    def close(self) -> None:
        """Close the file; stdout stays open."""
        file, self._file = self._file, None
        if file is not None and self._syncing is not None:
            try:
                with file:
                    self._syncing.close()
            except OSError as error:
                raise _cannot_write(self.path or "", error) from None


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
            raise _cannot_write(self.path, error) from None
        self._not_synced: deque[Path] = deque()
        self._syncing: Syncing | None = Syncing(self._sync)

    def _sync(self) -> None:
        while self._not_synced:
            with suppress(FileNotFoundError):  # removed since
                sync(self._not_synced.popleft())
        sync_folder(self.path)

    @classmethod
    def opened(cls, target: str, labels: Sequence[str], fps: float | None) -> Images:
        """See ``outputs.open_sink``."""
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
            raise _cannot_write(self.path / name, error) from None
        self._not_synced.append(self.path / name)

    def close(self) -> None:
        """Wait until all files are on the disk."""
        syncing, self._syncing = self._syncing, None
        if syncing is not None:
            try:
                syncing.close()
            except OSError as error:
                raise _cannot_write(self.path, error) from None


class Window(Sink):
    """Sink that shows frames in a window; q, Esc or closing it ends the loop.

    Args:
        labels: class names, as in the model's spec.
        title: the window's title.

    Raises:
        SinkError: there is no display.
    """

    def __init__(self, labels: Sequence[str], title: str = "ssd-edge") -> None:
        if not has_display():
            raise SinkError("there is no display to open a window on: use --save-video FILE instead")
        self._labels, self._title = labels, title
        self._rate = Rate()
        # OpenCV's wheels contain Qt without fonts. Qt finds the system's, but gives four warnings for each window.
        os.environ.setdefault("QT_LOGGING_RULES", "qt.*.warning=false;default.warning=false")
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        self._sized = False

    @classmethod
    def opened(cls, target: str, labels: Sequence[str], fps: float | None) -> Window:
        """See ``outputs.open_sink``."""
        return cls(labels)

    def write(self, frame: Frame, detections: Detections) -> None:
        """Show a frame."""
        rate = self._rate.tick()
        picture = annotate(frame.image, detections, self._labels, note=f"{rate:.1f} FPS" if rate else "")
        if not self._sized:
            cv2.resizeWindow(self._title, picture.shape[1], picture.shape[0])
            self._sized = True
        cv2.imshow(self._title, picture)
        self.idle()

    def idle(self) -> None:
        """Check the keys and the window's close button."""
        if cv2.waitKey(1) & 0xFF in (ord("q"), 27) or cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            raise StopLoop

    def close(self) -> None:
        """Close the window."""
        if self._title:
            cv2.destroyAllWindows()
        self._title = ""


def has_display() -> bool:
    """Tell whether a window can be opened.

    On Linux this is tried in another process, since without a display Qt aborts instead of raising an error.
    """
    if not sys.platform.startswith("linux"):
        return True
    if not session_of(os.environ):
        return False
    attempt = [sys.executable, "-c", "import cv2; cv2.namedWindow('ssd-edge')"]
    try:
        return subprocess.run(attempt, capture_output=True, timeout=30, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


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


def _cannot_write(what: str | Path, error: OSError) -> SinkError:
    return SinkError(f"cannot write {what}: {error.strerror or error}")
