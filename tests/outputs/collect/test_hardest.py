"""Which frame of a stretch of time is chosen, and how often a frame is looked at."""

from __future__ import annotations

import math

from ssd_edge.outputs.collect.hardest import Hardest
from ssd_edge.outputs.collect.reasons import Hard, Shot
from ssd_edge.stream.frames import Frame
from tests.outputs.worlds import NOTHING, blank


def hard(frame: Frame, kind: str, doubts: int = 1) -> Hard:
    return Hard(Shot(frame, NOTHING), kind, kind, doubts)


def test_a_frame_is_looked_at_once_for_all_its_reasons() -> None:
    asked: list[int] = []
    hardest = Hardest(5.0, lambda frame: asked.append(frame.index) or True)  # type: ignore[func-returns-value]
    first, easier, harder = (blank(index) for index in range(3))
    hardest.update([hard(first, "flicker"), hard(first, "unsure", 2), hard(first, "flicker")], 0.0)
    hardest.update([hard(easier, "unsure", 3)], 1.0)
    assert hardest.due(4.9) == []
    hardest.update([hard(harder, "unsure", 4), hard(harder, "class")], 4.9)
    assert asked == [0, 2]
    assert [(one.shot.frame.index, one.kind) for one in hardest.due(5.0)] == [
        (0, "flicker"),
        (0, "flicker"),
        (0, "unsure"),
    ]
    assert [(one.shot.frame.index, one.kind) for one in hardest.due(5.0)] == [(2, "class"), (2, "unsure")]
    assert hardest.due(math.inf) == []
