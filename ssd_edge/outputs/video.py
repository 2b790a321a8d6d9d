"""Record annotated video, in one file or in pieces."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from ssd_edge.detections import Detections
from ssd_edge.outputs.draw import annotate
from ssd_edge.outputs.limits import NO_LIMIT, Limit
from ssd_edge.outputs.pieces import Pieces
from ssd_edge.outputs.recording import Recording, checked_format
from ssd_edge.outputs.sink import Sink, check_folder
from ssd_edge.outputs.space import Space
from ssd_edge.pixels import Image
from ssd_edge.stream.frames import Frame

LONGEST_GAP = 60.0
"""Seconds without a frame after which the next begins a new piece."""

_MOST = Limit(seconds=24 * 3600.0)  # the memory of a file's index grows with its length
_MOST_OF_AVI = Limit(1 << 30, 24 * 3600.0)  # beyond 1 GiB it has a second index, which not every player reads


class Video(Sink):
    """Sink that writes an annotated video: H.264 in .mp4 or .mkv, Motion JPEG in .avi.

    Frames keep the distances in time at which they were captured, so the video plays at natural speed even if frames
    were dropped. A new piece begins at the limit, when a camera comes back with another size, after a minute without a
    frame, and after an error; each plays on its own. Pictures, which have no time, are scaled to the size of the first.

    Args:
        path: the file; its suffix chooses the format. See ``Pieces`` for what is overwritten.
        labels: class names, as in the model's spec.
        fps: frame rate of .avi, and of pictures, which have no time; None means 25.
        pieces: the files to write; by default ``path`` alone, in pieces of 24 hours, for .avi of 1 GiB at most.

    Raises:
        SinkError: the format is not known, or the folder does not exist or cannot be written to.
    """

    heavy = True

    def __init__(
        self, path: str | Path, labels: Sequence[str], fps: float | None = None, pieces: Pieces | None = None
    ) -> None:
        self._pieces = pieces or video_pieces(Path(path))
        self.path: Path = checked_format(Path(path))
        check_folder(self.path)
        self._pieces.check()
        self._labels = labels
        self._fps = Fraction(fps or 25).limit_denominator(1001)
        self._recording: Recording | None = None
        self._last: float | None = None

    @classmethod
    def opened(cls, target: str, labels: Sequence[str], fps: float | None, *, pieces: Pieces | None = None) -> Video:
        """See ``catalogue.open_sink``."""
        return cls(target, labels, fps, pieces)

    def write(self, frame: Frame, detections: Detections) -> None:
        """Draw and encode one frame."""
        self._pieces.check()
        picture = annotate(frame.image, detections, self._labels)
        if self._recording is not None and self._parts(self._recording, picture, frame.position):
            self.close()
        if self._recording is None:
            self._recording = self._begin(picture)
        self._last = frame.position
        self._recording.add(picture, frame.position)

    def close(self) -> None:
        """Write the frames that the encoder still holds, and the end of the file."""
        recording, self._recording = self._recording, None
        if recording is not None:
            try:
                recording.close()
            finally:
                self._pieces.end()
                if not recording.size:
                    self._pieces.discard()

    def _parts(self, recording: Recording, picture: Image, position: float | None) -> bool:
        """Tell whether a frame begins a new piece."""
        timed = position is not None and self._last is not None
        gap = (position or 0.0) - (self._last or 0.0)
        if timed and (not recording.fits(picture) or not 0 <= gap <= LONGEST_GAP):
            return True
        return self._pieces.full(recording.size, recording.seconds)

    def _begin(self, picture: Image) -> Recording:
        file = self._pieces.begin()
        self.path = self._pieces.path
        try:
            return Recording(file, self.path, self._fps, (picture.shape[1], picture.shape[0]))
        except BaseException:
            file.close()
            self._pieces.discard()
            raise


def video_pieces(path: Path, limit: Limit = NO_LIMIT, space: Space | None = None) -> Pieces:
    """Return the files of a video; without a limit of the user's, they still end before their index is too large."""
    return Pieces(path, limit, _MOST_OF_AVI if path.suffix.lower() == ".avi" else _MOST, space)
