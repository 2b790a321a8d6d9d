"""What of the detections of many frames is worth a message."""

from __future__ import annotations

from collections import Counter
from time import monotonic

from ssd_edge.detections import Detections
from ssd_edge.tracking.watch import Watched


class News:
    """Lets through some frames: at most so many a second, and if wanted only where something else is seen.

    Args:
        rate: most frames a second; 0 for none.
        on_change: whether to leave out frames with as many objects of each class, and the same ids, as the last one.
    """

    def __init__(self, rate: float, on_change: bool) -> None:
        self._interval = 1 / rate if rate > 0 else float("inf")
        self._due = float("-inf") if rate > 0 else float("inf")
        self._on_change = on_change
        self._last: tuple[Counter[int], Counter[int]] | None = None

    def passes(self, detections: Detections) -> bool:
        """Tell whether this frame is let through; then it counts as sent."""
        now = monotonic()
        if now < self._due:
            return False
        ids = detections.ids.tolist() if isinstance(detections, Watched) else ()
        seen = Counter(detections.labels.tolist()), Counter(ids)
        if self._on_change and seen == self._last:
            return False
        self._last, self._due = seen, now + self._interval
        return True
