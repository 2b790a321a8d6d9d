"""A recording in one file, or in many, one after the other."""

from __future__ import annotations

from contextlib import suppress
from io import FileIO
from pathlib import Path

from ssd_edge.outputs.limits import NO_LIMIT, Limit
from ssd_edge.outputs.series import Series
from ssd_edge.outputs.sink import cannot_write
from ssd_edge.outputs.space import Space


class Pieces:
    """The files of one output, from its first opening to the end of the run.

    Without a limit the recording is the file itself, which is overwritten when the run begins; a further piece that
    cannot be avoided, as after an error, is named after it as ``Series`` has it. With a limit all pieces are named so,
    and nothing is overwritten.

    Args:
        path: the file that the user named.
        limit: when a piece ends.
        most: when it ends in any case.
        space: the room that it may take; None for all.

    Attributes:
        path: the piece that was begun last; before, the file that the user named.
    """

    def __init__(self, path: Path, limit: Limit = NO_LIMIT, most: Limit = NO_LIMIT, space: Space | None = None) -> None:
        self.path = path
        self._limit, self._space = limit.within(most), space
        named = path.parent, path.stem, [path.suffix]
        self._series = Series(*named) if space is None else space.series(*named)
        self._plain = not limit
        self._begun = False

    def full(self, size: int, seconds: float) -> bool:
        """Tell whether the piece that is being written is at its end."""
        return self._limit.reached(size, seconds)

    def check(self) -> None:
        """See ``Space.check``."""
        if self._space is not None:
            self._space.check(self.path.parent)

    def begin(self) -> FileIO:
        """Make the next piece, an empty file.

        Raises:
            SinkError: it cannot be made, or there is too little room on the disk.
        """
        self._make_room()
        self._series.in_use.discard(self.path)
        try:
            if self._plain and not self._begun:
                file = FileIO(self.path, "wb")
            else:
                self.path, file = self._series.begin(self.path.suffix)
        except OSError as error:
            raise cannot_write(self.path, error) from None
        self._begun = True
        return file

    def go_on(self) -> tuple[FileIO, int]:
        """Open the last piece again to write at its end, or begin the first; return it and its size.

        What stands behind its last line feed is removed.

        Raises:
            SinkError: it cannot be opened, or there is too little room on the disk.
        """
        if not self._begun:
            return self.begin(), 0
        self._make_room()
        try:
            file = FileIO(self.path, "ab+")
            self._series.in_use.add(self.path)
            with suppress(OSError):  # a pipe or device has no end
                file.truncate(_end_of_lines(file))
                return file, file.seek(0, 2)
            return file, 0
        except OSError as error:
            raise cannot_write(self.path, error) from None

    def _make_room(self) -> None:
        """Have room made, unless there is no such folder: who opens a file there says that with the file's name."""
        if self._space is not None and self.path.parent.is_dir():
            self._space.check(self.path.parent, now=True)

    def discard(self) -> None:
        """Remove the piece that was begun last, in which nothing was written."""
        with suppress(OSError):
            self.path.unlink()
        self._series.in_use.discard(self.path)

    def end(self) -> None:
        """Note that nothing more is written to the last piece."""
        self._series.in_use.discard(self.path)


def _end_of_lines(file: FileIO) -> int:
    """Return the size of a file up to its last line feed."""
    end = file.seek(0, 2)
    while end > 0:
        begin = max(0, end - 4096)
        file.seek(begin)
        found = file.read(end - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0
