"""Bring what a sink has written to the disk once a second, so that a power cut costs no more than that."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from ssd_edge.files import sync_folder, sync_open

SECONDS = 1.0
"""Seconds between two syncs."""


class Syncing:
    """A thread that syncs a sink's output: on a slow card this takes a while, for which no frame should wait.

    Args:
        sync: writes to the disk what the sink has written since the last call.
    """

    def __init__(self, sync: Callable[[], None]) -> None:
        self._sync = sync
        self._error: OSError | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sync", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise the error of the last sync, if any; only once.

        Raises:
            OSError: the disk did not take what was written.
        """
        error, self._error = self._error, None
        if error is not None:
            raise error

    def close(self) -> None:
        """Sync the rest and end the thread.

        Raises:
            OSError: the disk did not take what was written.
        """
        self._ended.set()
        self._thread.join()
        self.check()

    def _run(self) -> None:
        ended = False
        while not ended and self._error is None:
            ended = self._ended.wait(SECONDS)
            try:
                self._sync()
            except OSError as error:  # raised again in the sink's thread
                self._error = error


def sync_written(descriptor: int, folder: Path) -> None:
    """Wait until what was written to an open file is on the disk, and the file's name in its folder too.

    Raises:
        OSError: it cannot be written there.
    """
    sync_open(descriptor)
    sync_folder(folder)
