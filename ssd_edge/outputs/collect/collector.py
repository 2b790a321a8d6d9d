"""Collect hard frames, clean and with the model's boxes as suggestions, as a data set to label and to train on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic

import numpy as np

from ssd_edge.data.jpeg import read_segments
from ssd_edge.data.likeness import look_of
from ssd_edge.data.voc_write import Object
from ssd_edge.detections import Detections
from ssd_edge.outputs.collect.against import OPPONENTS, Opponent, take_opponent
from ssd_edge.outputs.collect.budget import Budget
from ssd_edge.outputs.collect.folder import Folder
from ssd_edge.outputs.collect.hardest import Hardest, doubts_of
from ssd_edge.outputs.collect.novelty import Novelty
from ssd_edge.outputs.collect.ranking import Ranked, Ranking
from ssd_edge.outputs.collect.reasons import Chooser, Hard, Shot, disagreement
from ssd_edge.outputs.collect.settings import USUAL, CollectSettings, lowest_score
from ssd_edge.outputs.file_names import name_part
from ssd_edge.outputs.jpeg import as_jpeg
from ssd_edge.outputs.sink import Sink
from ssd_edge.outputs.space import Space
from ssd_edge.parsing import bytes_as_text
from ssd_edge.stream.frames import Frame

_QUALITY = 95
_TABLES = b"\xff\xc4"  # of Huffman codes, which some USB cameras leave out of their JPEG
_MEASURE_EVERY = 10.0  # seconds between looks whether a full folder has room again
_MEAN_EVERY = 2.0  # seconds between frames that are counted for the camera's mean look


class Collect(Sink):
    """Sink that collects hard frames as Pascal VOC; see ``reasons.KINDS`` for which, ``Folder`` for how.

    Args:
        path: the folder, which is made if it does not exist.
        labels: class names, as in the model's spec.
        settings: what is collected, and how much.
        space: the room that is left on the disk; None for all.
        say: takes a line when the folder is full, and when it has room again.
        clock: monotonic seconds.

    Raises:
        SinkError: the folder cannot be made, or the second engine not be used.
    """

    heavy = True
    every = True

    def __init__(
        self,
        path: str | Path,
        labels: Sequence[str],
        settings: CollectSettings = USUAL,
        *,
        space: Space | None = None,
        say: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.path: Path = Path(path)
        self._labels, self._settings, self._say, self._clock = labels, settings, say, clock
        self._thresholds = list(settings.thresholds) or [0.5] * len(labels)
        self._folder = Folder(self.path, name_part(settings.camera, 40).replace(" ", "_") or "frame")
        self._space = space
        if space is not None:
            space.check(self.path, now=True)
        self._chooser = Chooser(labels, self._thresholds, settings.quiet)
        self._novelty = Novelty(self._folder.looks())
        self._keeping, self._comparing = (Budget(settings.share / 2, clock) for _ in range(2))
        self._hardest = Hardest(settings.gap, self._is_new)
        self._time = self._mean_due = float("-inf")
        self._full, self._ranking = False, Ranking()
        self._count, self._size = self._folder.measure()
        self._measured = clock()
        self._opponent: Opponent | None = None
        if settings.against and settings.open_engine is not None:
            self._opponent = take_opponent(settings, labels, lowest_score(self._thresholds))

    @classmethod
    def opened(
        cls,
        target: str,
        labels: Sequence[str],
        fps: float | None,
        *,
        settings: CollectSettings = USUAL,
        space: Space | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> Collect:
        """See ``catalogue.open_sink``."""
        return cls(target, labels, settings, space=space, say=say)

    def write(self, frame: Frame, detections: Detections) -> None:
        """Look at a frame, and collect the hardest until now if its time has come.

        Args:
            frame: the frame.
            detections: all its detections, down to ``settings.lowest_score``.
        """
        if self._is_full() and not self._ranking:
            return
        shot = Shot(frame, detections)
        time = frame.captured if frame.position is None else frame.position
        if time < self._time:  # the source began anew
            self._keep_chosen()
        self._time = time
        hard = self._chooser.update(shot, time)
        if self._opponent is not None and self._comparing.allows:
            with self._comparing.spend():
                theirs = self._opponent(frame.pixels)
            hard += disagreement(shot, theirs, self._labels, self._thresholds)
        self._hardest.update(hard, time)
        while self._keeping.allows and self._keep_next(time):
            pass
        if self._clock() >= self._mean_due and self._keeping.allows:
            self._mean_due = self._clock() + _MEAN_EVERY
            with self._keeping.spend():
                self._novelty.see(look_of(frame.image))

    def close(self) -> None:
        """Collect what is chosen until now, and give the second engine back."""
        opponent, self._opponent = self._opponent, None
        if opponent is not None:
            OPPONENTS.give_back(opponent)
        self._keep_chosen()

    def _keep_chosen(self) -> None:
        """Collect all that is chosen until now."""
        while self._keep_next(math.inf):
            pass

    def _keep_next(self, time: float) -> bool:
        """Collect a frame whose stretch of time has ended, with all its reasons; return whether there was one."""
        reasons = self._hardest.due(time)
        if reasons:
            with self._keeping.spend():
                self._keep(reasons)
        return bool(reasons)

    def _is_new(self, frame: Frame) -> bool:
        """Tell whether a frame is unlike all that were collected, if there is time to look."""
        if not self._keeping.allows:
            return False
        with self._keeping.spend():
            return self._novelty.is_new(look_of(frame.image))

    def _keep(self, reasons: list[Hard]) -> None:
        """Collect a frame unless it is like one that was since it was chosen, or easier than all of a full folder."""
        frame, found = reasons[0].shot
        doubts = doubts_of(reasons)
        going = self._going(doubts) if self._is_full() else []
        if self._full and not going:
            return
        look = look_of(frame.image)
        if not self._novelty.is_new(look):
            return
        if self._space is not None:
            self._space.check(self.path)
        jpeg = _own_jpeg(frame) or as_jpeg(frame.image, _QUALITY, f"frames in {self.path}")
        about = {"camera": self._settings.camera, "frame": str(frame.index)}
        written = self._folder.add(reasons, jpeg, self._suggested(found, frame), about, look)
        self._novelty.add(look)
        self._ranking.add(Ranked(doubts, written, look))
        self._count, self._size = self._count + 1, self._size + written.size
        for one in going:
            self._ranking.remove(one)
            self._novelty.remove(one.look)
            self._folder.remove(one.written)
            self._count, self._size = self._count - 1, self._size - one.written.size

    def _going(self, doubts: int) -> list[Ranked]:
        """Return frames that give their place to one with so many doubts; none if there is none as easy."""
        return self._ranking.easier(
            doubts, self._count - self._settings.frames + 1, self._size - self._settings.size + 1
        )

    def _suggested(self, found: Detections, frame: Frame) -> list[Object]:
        """Return the boxes that are shown, inside the frame, in whole pixels; without those that have no area."""
        shown = found.above(np.asarray(self._thresholds, np.float32))
        height, width = frame.image.shape[:2]
        boxes = np.clip(shown.boxes.round(), 0, [width, height, width, height]).astype(int)
        return [
            Object(self._labels[label], (box[0], box[1], box[2], box[3]), score)
            for box, label, score in zip(boxes.tolist(), shown.labels.tolist(), shown.scores.tolist(), strict=True)
            if box[2] > box[0] and box[3] > box[1]
        ]

    def _is_full(self) -> bool:
        """Tell whether the quota is reached; say it when that changes."""
        if self._full and self._clock() - self._measured >= _MEASURE_EVERY:
            self._count, self._size = self._folder.measure()
            self._measured = self._clock()
        full: bool = self._count >= self._settings.frames or self._size >= self._settings.size
        if full and not self._full:
            goes_on = "from now on, a frame is collected only in place of an easier one of this run"
            self._say(
                f"{goes_on if self._ranking else 'collecting has stopped'}: {self.path} holds {self._count} frames, "
                f"{bytes_as_text(self._size)}: take them home, or allow more"
            )
        elif self._full and not full:
            self._say(f"collecting goes on: {self.path} has room again")
        self._full = full
        return full


def _own_jpeg(frame: Frame) -> bytes:
    """Return the JPEG that a camera gave, if every program can read it: with its tables, and not to be turned."""
    data = b"" if frame.encoded is None else frame.encoded.data
    segments = read_segments(data) if data.startswith(b"\xff\xd8") and _TABLES in data else None
    whole = segments is not None and segments.end is not None and not segments.exif
    return data if whole and segments and (segments.height, segments.width) == frame.image.shape[:2] else b""
