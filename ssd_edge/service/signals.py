"""Signals as events: SIGTERM and Ctrl-C end a run, SIGHUP has its file read again."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType
from typing import Literal

Event = Literal["stop", "reload"]


@contextmanager
def signal_events(events: SimpleQueue[Event], started: threading.Event) -> Iterator[None]:
    """Put an event for each signal while the block runs; only the main thread may use it.

    A handler does nothing else, since it runs in the middle of whatever the main thread does, such as holding a lock.
    The second SIGTERM or Ctrl-C ends the process at once, by the signal itself.

    Args:
        events: takes ``stop`` and ``reload``.
        started: whether anyone reads them yet; before, the first SIGTERM raises KeyboardInterrupt, as Ctrl-C does.
    """
    asked = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            os._exit(128 + number)  # the first process of a container does not die of a signal
        asked = True
        if not started.is_set():
            raise KeyboardInterrupt
        events.put("stop")

    def reload(number: int, frame: FrameType | None) -> None:
        events.put("reload")

    handlers = {signal.SIGINT: stop, signal.SIGTERM: stop}
    if hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = reload
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
