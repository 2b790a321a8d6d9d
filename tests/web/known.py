"""A conveyor whose objects are known, in the place of a camera and a model, so that what comes out can be predicted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from time import monotonic

import numpy as np

from ssd_edge.data.synthetic import LABELS, Conveyor
from ssd_edge.detections import Detections
from ssd_edge.detector import Detector, Result, StageTimes
from ssd_edge.pixels import Image, Pixels
from ssd_edge.spec import ModelSpec
from ssd_edge.stream.frames import Frame, Pacer, Source
from ssd_edge.stream.supervision import Supervision
from tests.helpers import small_spec

KNOWN: dict[int, Detections] = {}
"""The objects of frames by the identity of their pixels, which are never thrown away."""

_FRAMES = 60


@cache
def _scene(seed: int, size: tuple[int, int], fps: float) -> list[Image]:
    """Render some seconds of a conveyor, and note its objects; scores lie between 0.69 and 0.99."""
    conveyor, rng, images = Conveyor(seed, size, fps=fps), np.random.default_rng(seed), []
    for index in range(_FRAMES):
        image, target = conveyor.frame(index)
        scores = (0.99 - 0.3 * rng.random(len(target.boxes))).astype(np.float32)
        order = np.argsort(-scores)
        KNOWN[id(image)] = Detections(
            target.boxes[order].astype(np.float32), scores[order], target.labels[order].astype(np.int64)
        )
        images.append(image)
    return images


class KnownCamera(Source):
    """The conveyor as a camera, which can be unplugged: then no frame comes, as from a stream that hangs."""

    def __init__(self, seed: int = 0, size: tuple[int, int] = (640, 480), fps: float = 20.0) -> None:
        super().__init__()
        self.name, self.live, self.fps = "rtsp://admin:hunter2@10.1.2.3/secret", True, fps
        self.supervision = Supervision("camera")
        self.unplugged = threading.Event()
        self._images, self._pacer, self._index = _scene(seed, size, fps), Pacer(fps), 0

    def read(self) -> Frame | None:
        while self.unplugged.is_set():
            if self._stopping.wait(0.02):
                return None
        if not self._pacer.wait(self._stopping):
            return None
        began, index = monotonic(), self._index
        self._index += 1
        image = self._images[index % _FRAMES]
        now = monotonic()
        self.supervision.frame(now)
        return Frame(image, index, now, took=now - began)


class KnownDetector(Detector):
    """Gives a ``KnownCamera``'s objects."""

    depth = 1

    def __init__(self) -> None:
        self.spec: ModelSpec = small_spec(labels=LABELS)

    def submit(self, frame: Pixels) -> Callable[[], Result]:
        found = KNOWN.get(id(frame), Detections.empty())
        return lambda: Result(found, StageTimes(0.001, 0.002, 0.001))
