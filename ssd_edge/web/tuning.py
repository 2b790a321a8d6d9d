"""Scores, zones and lines of one camera, which can be changed while it runs."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ssd_edge.detections import Detections
from ssd_edge.errors import PageError
from ssd_edge.loop.chosen import DEFAULT_SCORE
from ssd_edge.loop.shown import Shown, above, watched
from ssd_edge.parsing import parse_size
from ssd_edge.spec import ModelSpec
from ssd_edge.stream.frames import Frame
from ssd_edge.tracking.plan import Line, Plan, Zone
from ssd_edge.tracking.watch import Watch
from ssd_edge.tracking.watch_file import WatchReader
from ssd_edge.web.store import WatchStore, as_yaml

LOWEST_SCORE = 0.1
"""Lowest score that the page shows, and so the lowest that is asked of the detector when there is a page."""

MOST_PLACES, MOST_POINTS = 50, 100

Places = Mapping[str, Sequence[Mapping[str, Any]]]
"""``zones`` and ``lines`` as in a watch file, with points in fractions of the frame."""


class Tuning:
    """What one camera shows: callable as ``Shown``. ``change_…`` may be called by any thread, and apply at once.

    Args:
        spec: the model's spec.
        min_score: score threshold for all classes; None for each class's own.
        store: the file of zones and lines; None if there is none, then those drawn last as long as the run.
        reader: what to watch, where there is no store.

    Raises:
        WatchError: the file names a class that the model does not have.
    """

    def __init__(
        self,
        spec: ModelSpec,
        min_score: float | None = None,
        store: WatchStore | None = None,
        reader: WatchReader | None = None,
    ) -> None:
        self.labels, self.store = tuple(spec.labels), store
        self._usual = np.asarray(spec.operating_score_of_each(DEFAULT_SCORE), np.float32)
        self._lock = threading.Lock()
        self._by_page = False  # whether the score was chosen on the page, and so is stronger than the file's
        self.score, self._reader = min_score, store.reader if store else reader
        self._min_score = min_score
        self.watch: Watch | None = None
        self._shown = self._apply(min_score, self._reader)

    def __call__(self, frame: Frame, detections: Detections) -> Detections:
        """See ``Shown``."""
        return self._shown(frame, detections)

    @property
    def lowest_score(self) -> float:
        """Lowest score that this camera, or its page, reads."""
        watch = self.watch
        return min(LOWEST_SCORE, watch.lowest_score if watch else float(self.thresholds.min()))

    @property
    def thresholds(self) -> npt.NDArray[np.float32]:
        """(L,) score from which on each class counts."""
        return self._thresholds(self.score)

    def anew(self, spec: ModelSpec) -> Tuning:
        """Return one for the same camera that is opened again: score and places stay, and counting begins at 0."""
        with self._lock:
            tuning = Tuning(spec, self._min_score, self.store, self._reader)
            if self._by_page:
                tuning.change_score(self.score)
        return tuning

    def change_score(self, score: float | None) -> None:
        """Count detections from another score on; None for each class's own.

        Raises:
            PageError: it is lower than what the detector gives.
        """
        if score is not None and not LOWEST_SCORE <= score <= 1:
            raise PageError(f"a score lies between {LOWEST_SCORE} and 1, but got {score:g}")
        with self._lock:
            self._by_page = score is not None
            self._shown = self._apply(score, self._reader)
            self.score = score

    def change_places(self, places: Places) -> None:
        """Watch other zones and lines, and write them to the file, if there is one; all or nothing.

        Objects keep their ids, and places that stay the same keep their counts.

        Raises:
            WatchError: they cannot be watched.
            PageError: there are too many, or the file cannot be written.
        """
        _check_number(places)
        with self._lock:
            old = self._reader.content if self._reader else {}
            wanted = _as_written(places, old)
            if self.store is not None:
                text, reader = self.store.changed(wanted)
                watch = self._watch(self.score, reader)
                self.store.write(text, reader)
            else:
                reader = WatchReader(Path("zones and lines"), {**old, **wanted})
                watch = self._watch(self.score, reader)
            self._reader = reader
            self._shown = self._taken_over(watch)

    def places(self) -> Places:
        """Return the zones and lines, with points in fractions of the frame."""
        with self._lock:
            plan = self.watch.plan if self.watch else None
        if plan is None:
            return {"zones": [], "lines": []}
        return {
            "zones": [self._plain(zone) for zone in plan.zones],
            "lines": [self._plain(line) for line in plan.lines],
        }

    def as_yaml(self) -> str:
        """Write what is watched as a watch file."""
        with self._lock:
            return as_yaml(self._reader.content if self._reader else {})

    def _thresholds(self, score: float | None) -> npt.NDArray[np.float32]:
        return self._usual if score is None else np.full_like(self._usual, score)

    def _apply(self, score: float | None, reader: WatchReader | None) -> Shown:
        if reader is None:
            return above(self._thresholds(score))
        return self._taken_over(self._watch(score, reader))

    def _watch(self, score: float | None, reader: WatchReader) -> Watch:
        plan: Plan = reader.plan(self.labels, self._thresholds(score).tolist())
        if self._by_page and score is not None:
            plan = replace(plan, settings=replace(plan.settings, begin=(score,) * len(self.labels)))
        return Watch(plan, self.labels)

    def _taken_over(self, watch: Watch) -> Shown:
        if self.watch is not None:
            watch.take_over(self.watch)
        self.watch = watch
        return watched(watch)

    def _plain(self, place: Zone | Line) -> dict[str, Any]:
        plain: dict[str, Any] = {
            "name": place.name,
            "points": [[round(x, 4), round(y, 4)] for x, y in place.points],
            "anchor": place.anchor,
        }
        if place.labels is not None:
            plain["classes"] = [self.labels[label] for label in sorted(place.labels)]
        if isinstance(place, Zone) and place.min_time is not None:
            plain["min_time"] = place.min_time
        return plain


def _check_number(places: Places) -> None:
    if sum(len(ones) for ones in places.values()) > MOST_PLACES:
        raise PageError(f"there can be at most {MOST_PLACES} zones and lines")
    if any(len(one["points"]) > MOST_POINTS for ones in places.values() for one in ones):
        raise PageError(f"a zone can have at most {MOST_POINTS} points")


def _as_written(places: Places, content: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Write places as a watch file has them: in its unit, without what is usual; unchanged ones just as they were."""
    frame = content.get("frame")
    height, width = parse_size(str(frame)) if frame else (1, 1)
    written: dict[str, list[dict[str, Any]]] = {}
    for key, ones in places.items():
        before = {one["name"]: one for one in content.get(key) or ()}
        written[key] = []
        for one in ones:
            new = {
                "name": one["name"],
                "points": [
                    [round(x * width, 1), round(y * height, 1)] if frame else [round(x, 4), round(y, 4)]
                    for x, y in one["points"]
                ],
                **{name: one[name] for name in ("classes", "min_time") if one.get(name) is not None},
                **({"anchor": one["anchor"]} if one.get("anchor", "bottom") != "bottom" else {}),
            }
            old = before.get(new["name"])
            written[key].append(old if old and _same(old, new, (width, height)) else new)
    return written


def _same(old: Mapping[str, Any], new: Mapping[str, Any], unit: tuple[int, int]) -> bool:
    """Tell whether a place is the same, up to the rounding of its points."""
    if len(old["points"]) != len(new["points"]):
        return False
    near = all(
        abs(a - b) <= 2e-4 * side
        for before, after in zip(old["points"], new["points"], strict=True)
        for a, b, side in zip(before, after, unit, strict=True)
    )
    rest = [
        {key: value for key, value in one.items() if key != "points" and (key, value) != ("anchor", "bottom")}
        for one in (old, new)
    ]
    return near and rest[0] == rest[1]
