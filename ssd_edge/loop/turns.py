"""Which camera's frame is taken next, so that no camera starves another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ssd_edge.loop.camera import OpenCamera
from ssd_edge.stream.frames import Frame


class Taken(NamedTuple):
    """A frame that was taken, and its camera."""

    camera: OpenCamera
    frame: Frame


class Turns:
    """Takes frames in turns: of the cameras with a frame, the one whose last turn is the longest ago comes first.

    So every camera that has more frames than the engine can take gets an equal share, and a slower camera gets all of
    its frames. A batch takes what is there, one frame of each camera: it never waits for a slow one.
    """

    def __init__(self) -> None:
        self._turn = 0

    def take(self, cameras: Iterable[OpenCamera], most: int) -> list[Taken]:
        """Take up to ``most`` frames, each of another camera."""
        taken: list[Taken] = []
        ready = sorted((one for one in cameras if one.capture.ready), key=lambda camera: camera.served)
        for camera in ready[:most]:
            frame = camera.take(self._turn + 1)
            if frame is not None:
                self._turn += 1
                taken.append(Taken(camera, frame))
        for camera in ready[most:]:
            camera.waited += len(taken)
        return taken
