"""Source that draws its frames: a camera for trying things out."""

from __future__ import annotations

from time import monotonic

from ssd_edge.errors import SourceError
from ssd_edge.stream.frames import Frame, Pacer, Source


class SyntheticSource(Source):
    """The rendered conveyor as a camera.

    Args:
        seed: random seed of belt, light and parts.
        size: (width, height).
        fps: frames per second.
        realtime: whether to wait for each frame's time; otherwise frames are drawn as fast as they are read.
    """

    def __init__(self, seed: int, size: tuple[int, int], fps: float, realtime: bool) -> None:
        super().__init__()
        from ssd_edge.data.synthetic import Conveyor

        self.name, self.fps, self.live = f"synthetic:{seed}", fps, realtime
        try:
            self._conveyor = Conveyor(seed, size, fps=fps)
        except ValueError as error:
            raise SourceError(f"cannot draw the synthetic camera: {error}") from None
        self._pacer = Pacer(fps)
        self._index = 0

    def read(self) -> Frame | None:
        """Draw the next view of the belt, when it is due."""
        if self._stopping.is_set() or (self.live and not self._pacer.wait(self._stopping)):
            return None
        began = monotonic()
        index, self._index = self._index, self._index + 1
        image, _ = self._conveyor.frame(index)
        now = monotonic()
        return Frame(image, index, now, index / (self.fps or 1), took=now - began)
