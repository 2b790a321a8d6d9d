"""The process of a candidate with a planted fault: an honest bundle, and what a bad one would do in its place.

``python benchmarks/swap_candidate.py KIND LATE REQUEST``; the faults are fakes around a sound engine, since a crash, a
leak or a slow kernel of a runtime cannot be had on demand. ``swap.py`` uses it in place of ``ssd_edge.swap.child``.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ssd_edge.detections import Detections
from ssd_edge.detector import Detector, Engine, HostDetector, RawHeads, Result
from ssd_edge.errors import BackendError
from ssd_edge.pixels import Pixels
from ssd_edge.swap.child import opened, serve

LATE = int(sys.argv[2]) if len(sys.argv) > 2 and sys.argv[2].isdecimal() else 500
"""Frame from which on a fault shows that is not there at the beginning."""

Change = Callable[[Detections, int], Detections]


def _boxes(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    return lambda found, number: replace(found, boxes=change(found.boxes).astype(np.float32))


def _kept(found: Detections, keep: np.ndarray) -> Detections:
    return Detections(found.boxes[keep], found.scores[keep], found.labels[keep])


def _doubled(found: Detections, number: int) -> Detections:
    aside = found.boxes + 2 * np.tile(found.boxes[:, 2:] - found.boxes[:, :2], 2)
    return Detections(np.concatenate([found.boxes, aside]), np.tile(found.scores, 2), np.tile(found.labels, 2))


def _widths(boxes: np.ndarray) -> np.ndarray:
    return np.asarray(boxes[:, 2:3] - boxes[:, :1])


def _late(change: Change) -> Change:
    return lambda found, number: change(found, number) if number >= LATE else found


_shift = _boxes(lambda boxes: boxes + 0.6 * _widths(boxes) * np.array([1, 0, 1, 0]))
_leaked: list[bytearray] = []


def _sleep(share: float) -> Change:
    """Take so many times the time again that a frame takes anyway."""

    def change(found: Detections, number: int) -> Detections:
        until = time.perf_counter() + share * _State.seconds
        while time.perf_counter() < until:
            pass
        return found

    return change


def _die(signal_number: int, at: int) -> Change:
    def change(found: Detections, number: int) -> Detections:
        if number >= at:
            os.kill(os.getpid(), signal_number)
        return found

    return change


def _fail(found: Detections, number: int) -> Detections:
    raise BackendError("the runtime ran out of memory")


def _leak(found: Detections, number: int) -> Detections:
    _leaked.append(bytearray(os.urandom(1024)) * 1024)
    return found


def _hang(found: Detections, number: int) -> Detections:
    time.sleep(3600)
    return found


def _exit(found: Detections, number: int) -> Detections:
    os._exit(3)


FAULTS: dict[str, Change] = {
    "wrong classes": lambda found, number: replace(found, labels=1 - found.labels),
    "shifted boxes": _shift,
    "boxes of half the size": _boxes(lambda boxes: boxes - 0.5 * (boxes - np.roll(boxes, 2, axis=1)) * [0, 0, 1, 1]),
    "x and y exchanged": _boxes(lambda boxes: boxes[:, [1, 0, 3, 2]]),
    "finds nothing": lambda found, number: _kept(found, np.zeros(len(found), bool)),
    "misses every second object": lambda found, number: _kept(found, np.arange(len(found)) % 2 == 0),
    "as many false detections": _doubled,
    "twice as slow": _sleep(1.0),
    "leaks a megabyte a frame": _leak,
    "crashes at its first frame": _die(signal.SIGSEGV, 1),
    "crashes at frame 500": _die(signal.SIGSEGV, LATE),
    "aborts at frame 500": _die(signal.SIGABRT, LATE),
    "ends at frame 500": _late(_exit),
    "fails at frame 500": _late(_fail),
    "hangs at frame 500": _late(_hang),
    "shifted boxes from frame 500": _late(_shift),
    "three times as slow from frame 500": _late(_sleep(2.0)),
    "leaks from frame 500": _late(_leak),
}
"""What happens to the detections of a frame, by the fault's name; frames are counted from 1."""

GOOD: dict[str, Change] = {
    "the same engine": lambda found, number: found,
    "boxes off by 3 %": _boxes(lambda boxes: boxes + 0.03 * _widths(boxes)),
    "scores off by 0.001": lambda found, number: replace(found, scores=np.float32(0.001) + found.scores),
    "a tenth slower": _sleep(0.1),
    "misses one of thirty": lambda found, number: _kept(found, np.arange(len(found)) % 30 != 29),
}


class _State:
    seconds = 0.0  # of the frame before


class Planted(Detector):
    """A detector with a fault."""

    def __init__(self, sound: Detector, change: Change) -> None:
        self.spec, self.depth = sound.spec, 1
        self._sound, self._change, self._number = sound, change, 0

    def submit(self, frame: Pixels) -> Callable[[], Result]:
        """See ``Detector``."""
        began = time.perf_counter()
        result = self._sound.submit(frame)()
        _State.seconds = time.perf_counter() - began
        self._number += 1
        changed = self._change(result.detections, self._number)
        return lambda: Result(changed, result.times)


class PlantedEngine(Engine):
    """A sound engine with a detector that has a fault; its heads saturate if it is to."""

    def __init__(self, sound: Engine, change: Change, saturates: bool = False) -> None:
        self.spec, self.depth, self.backend, self.precision = sound.spec, 1, sound.backend, sound.precision
        self._sound, self._change, self._saturates = sound, change, saturates

    def submit(self, images: np.ndarray) -> Callable[[], RawHeads]:
        """See ``Heads``."""
        loc, logits = self._sound.submit(images)()
        if self._saturates:  # as sums of INT8 products do in 16 bits
            loc, logits = np.clip(loc, -0.2, 0.2), np.clip(logits, -0.2, 0.2)
        return lambda: RawHeads(loc, logits)

    def detector(self, min_score: float = 0.0) -> Detector:
        """See ``Heads``."""
        return Planted(HostDetector(self, min_score), self._change)

    def close(self) -> None:
        """See ``Engine``."""
        self._sound.close()


def main() -> None:
    """Be a candidate of the kind in ``sys.argv[1]``."""
    kind = sys.argv[1]

    def open_planted(path: Path) -> Engine:
        if kind == "crashes while it loads":
            os.kill(os.getpid(), signal.SIGSEGV)
        if kind == "saturates":
            from ssd_edge.engines.opening import open_model, proof_for
            from ssd_edge.engines.proof.prove import prove

            engine = PlantedEngine(open_model(path), GOOD["the same engine"], saturates=True)
            prove(engine, proof_for(path, engine))
            return engine
        return PlantedEngine(opened(path), {**FAULTS, **GOOD}[kind])

    serve(open_planted)


if __name__ == "__main__":
    main()
