"""The lines that a run says: text for people, or one JSON object a line for programs such as journald's readers."""

from __future__ import annotations

import json
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Literal, TextIO

from ssd_edge.progress import Note

Level = Literal["info", "warning", "error"]

FORMS = ("text", "json")


class Log(ABC):
    """Takes lines from any thread."""

    @abstractmethod
    def line(self, message: str, event: str, level: Level = "info", camera: str | None = None) -> None:
        """Say one line.

        Args:
            message: the sentence for people.
            event: what kind of line it is: ``source``, ``output``, ``model``, ``config`` or ``service``.
            level: how grave it is.
            camera: name of the camera that it is about, if any.
        """

    def note(self, event: str, level: Level = "info", camera: str | None = None) -> Note:
        """Return a function that says sentences of one kind, about one camera."""
        return lambda sentence: self.line(sentence, event, level, camera)


class TextLog(Log):
    """Lines for people.

    Args:
        say: prints a line in a style: empty, or ``yellow`` for what should be looked at.
    """

    def __init__(self, say: Callable[[str, str], None]) -> None:
        self._say = say

    def line(self, message: str, event: str, level: Level = "info", camera: str | None = None) -> None:
        """See ``Log``; the camera's name is put before a line that does not begin with it."""
        named = message if camera is None or message.startswith(f"{camera}:") else f"{camera}: {message}"
        self._say(named, "" if level == "info" else "yellow")


class JsonLog(Log):
    """One JSON object a line: ``time`` (UTC), ``level``, ``event``, ``camera`` where there is one, and ``message``.

    Args:
        file: where the lines go; stderr by default.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._file, self._lock = file, threading.Lock()

    def line(self, message: str, event: str, level: Level = "info", camera: str | None = None) -> None:
        """See ``Log``."""
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        about = {} if camera is None else {"camera": camera}
        text = json.dumps({"time": now, "level": level, "event": event, **about, "message": message})
        with self._lock:
            # One write for each line, so that lines of two processes do not mix. A reader that went away ends nothing.
            try:
                (self._file or sys.stderr).write(f"{text}\n")
                (self._file or sys.stderr).flush()
            except OSError:
                return
