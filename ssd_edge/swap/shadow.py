"""Work beside the loop on some of its frames, within a share of the time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from time import monotonic


class Shadow(AbstractContextManager["Shadow"]):
    """A thread that does one piece of offered work at a time, and rests so long that its share is kept.

    ``offer`` never waits: what comes while it works or rests is left out.

    Args:
        share: most of the time that work may take, 0 … 1.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._changed = threading.Condition()
        self._work: Callable[[], None] | None = None
        self._free = True
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="shadow", daemon=True)
        self._thread.start()

    @property
    def free(self) -> bool:
        """Whether an offer would be taken."""
        return self._free

    def offer(self, work: Callable[[], None]) -> None:
        """Have a piece of work done if there is time for it."""
        with self._changed:
            if self._free:
                self._free, self._work = False, work
                self._changed.notify()

    def close(self) -> None:
        """End after the present piece of work."""
        self._closed.set()
        with self._changed:
            self._free = False
            self._changed.notify()
        self._thread.join()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._work is not None or self._closed.is_set())
                work, self._work = self._work, None
            if self._closed.is_set() or work is None:
                return
            began = monotonic()
            work()
            del work  # the frame's memory
            spent = monotonic() - began
            if self._closed.wait(spent / self._share - spent):
                return
            with self._changed:
                self._free = not self._closed.is_set()
