"""Whether a service is well: frames come from each camera, and the loop goes round."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from ssd_edge.loop.stats import LoopReport

STUCK_AFTER = 30.0
"""Seconds without a sign of life after which the loop counts as stuck; exchanging models may slow it down."""

_SLOW_FRAMES = 5  # frame intervals that a slow camera may take


class Health:
    """Judge of a running service; any thread may ask it.

    A camera is well while its results grow in number. A source that has come to its end is well too.

    Args:
        patience: seconds without a new result after which a camera is not well.
        clock: monotonic seconds.
    """

    def __init__(self, patience: float, clock: Callable[[], float] = monotonic) -> None:
        self.patience = patience
        self._clock, self._lock = clock, threading.Lock()
        self._beat = clock()
        self._grew: dict[str, tuple[int, float]] = {}
        self._waiting: dict[str, str] = {}

    def beat(self) -> None:
        """Note that the loop goes round; called by it."""
        self._beat = self._clock()

    @property
    def stuck(self) -> bool:
        """Whether the loop no longer goes round."""
        return self._clock() - self._beat > max(STUCK_AFTER, self.patience)

    def waiting(self, reasons: Mapping[str, str]) -> None:
        """Note which cameras cannot be opened, and why; they are not well."""
        with self._lock:
            self._waiting = dict(reasons)

    def look(self, reports: Mapping[str, LoopReport]) -> None:
        """See how far the cameras are; to be called every second or so."""
        now = self._clock()
        with self._lock:
            for name, report in reports.items():
                if self._grew.get(name, (-1, 0.0))[0] != report.processed:
                    self._grew[name] = report.processed, now
            for name in self._grew.keys() - reports.keys():
                del self._grew[name]

    def verdict(self, reports: Mapping[str, LoopReport]) -> tuple[bool, dict[str, Any]]:
        """Return whether all is well, and what ``/healthz`` says: plain values for ``json.dumps``."""
        self.look(reports)
        now = self._clock()
        with self._lock:
            cameras = {name: self._camera(report, now - self._grew[name][1]) for name, report in reports.items()}
            cameras |= {
                name: {"healthy": False, "state": "waiting", "reason": reason} for name, reason in self._waiting.items()
            }
        loop = {"healthy": not self.stuck, "seconds_since_round": round(now - self._beat, 1)}
        well = bool(loop["healthy"]) and all(camera["healthy"] for camera in cameras.values())
        return well, {"healthy": well, "loop": loop, "cameras": cameras}

    def _camera(self, report: LoopReport, silent: float) -> dict[str, Any]:
        state = state_of(report)
        patience = max(self.patience, _SLOW_FRAMES / report.fps if report.fps else 0.0)
        well = (state == "ended" and not report.error) or silent <= patience
        said: dict[str, Any] = {
            "healthy": well,
            "state": state,
            "seconds_since_result": round(silent, 1),
            "processed": report.processed,
            "fps": round(report.fps_now, 1),
        }
        if not well:
            why = "its source gives no frames" if state != "streaming" else "its frames are not processed"
            said["reason"] = f"no result for {silent:.0f} s: {why}"
        return said


def state_of(report: LoopReport) -> str:
    """Return the state of a camera's source, or ``ended``; a recording is ``streaming`` until then."""
    if report.ended:
        return "ended"
    return report.health.state if report.health else "streaming"
