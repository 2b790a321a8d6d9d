"""Choose the hardest frame of each stretch of time, for each reason."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ssd_edge.outputs.collect.reasons import KINDS, Hard
from ssd_edge.stream.frames import Frame

_REMEMBERED = 8  # frames that may still be given more reasons, since what flickered is known a few frames later


@dataclass
class _Stretch:
    ends: float
    reasons: list[Hard]


class Hardest:
    """Chooses, of the frames that have a reason within a gap, the one with the most doubts; of equal ones, the first.

    A stretch of time begins with a frame that has the reason, and ends a gap later.

    Args:
        gap: seconds.
        is_new: tells whether a frame may be chosen; it is asked only of one that would be.
    """

    def __init__(self, gap: float, is_new: Callable[[Frame], bool]) -> None:
        self._gap, self._is_new = gap, is_new
        self._reasons: OrderedDict[Frame, list[Hard]] = OrderedDict()
        self._stretches: dict[str, _Stretch] = {}

    def update(self, hard: Iterable[Hard], time: float) -> None:
        """Take in what is hard now: reasons of the newest frame, or of frames before it."""
        kinds: dict[Frame, dict[str, None]] = {}
        for one in sorted(hard, key=lambda one: list(KINDS).index(one.kind)):
            self._reasons.setdefault(one.shot.frame, []).append(one)
            kinds.setdefault(one.shot.frame, {})[one.kind] = None
        for frame, now in kinds.items():
            self._compare(frame, now, time)
        while len(self._reasons) > _REMEMBERED:
            self._reasons.popitem(last=False)

    def _compare(self, frame: Frame, kinds: Iterable[str], time: float) -> None:
        """Choose a frame for those of its reasons for which none is chosen, or an easier one."""
        reasons = self._reasons[frame]
        led = {kind: doubts_of(one.reasons) for kind, one in self._stretches.items()}
        won = [kind for kind in kinds if doubts_of(reasons) > led.get(kind, 0)]
        if not won or not self._is_new(frame):
            return
        for kind in won:
            self._stretches.setdefault(kind, _Stretch(time + self._gap, reasons)).reasons = reasons

    def due(self, time: float) -> list[Hard]:
        """Take out a frame whose stretch has ended, with all its reasons; none if no stretch has ended."""
        chosen = next((one.reasons for one in self._stretches.values() if time >= one.ends), [])
        self._stretches = {kind: one for kind, one in self._stretches.items() if one.reasons is not chosen}
        return chosen


def doubts_of(reasons: list[Hard]) -> int:
    """Return how hard a frame is: the number of its doubtful objects, each counted for each reason."""
    return sum(one.doubts for one in reasons)
