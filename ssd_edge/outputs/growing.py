"""A file that only grows, by whole pieces of data, and is brought to the disk once a second."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from io import FileIO
from pathlib import Path
from time import monotonic

from ssd_edge.outputs.sink import cannot_write
from ssd_edge.outputs.syncing import Syncing, sync_written


class GrowingFile:
    """An open file to append to; data is in it whole or not at all.

    Args:
        file: opened without a buffer, at its end.
        path: its name.
        size: its size in bytes.

    Attributes:
        path: its name.
        size: its size in bytes.
    """

    def __init__(self, file: FileIO, path: Path, size: int = 0) -> None:
        self.path, self.size, self._file, self._began = path, size, file, monotonic()
        self._syncing = Syncing(partial(sync_written, file.fileno(), path.parent))

    @property
    def seconds(self) -> float:
        """How long it has been open."""
        return monotonic() - self._began

    def append(self, data: bytes) -> None:
        """Write data.

        Raises:
            SinkError: it cannot be written, or what was written before did not reach the disk.
        """
        rest = memoryview(data)
        try:
            self._syncing.check()
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self.size)  # remove what is only a part
            raise cannot_write(self.path, error) from None
        self.size += len(data)

    def close(self) -> None:
        """Close it.

        Raises:
            SinkError: the rest did not reach the disk.
        """
        try:
            with self._file:
                self._syncing.close()
        except OSError as error:
            raise cannot_write(self.path, error) from None
