from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_edge.detections import Detections
from ssd_edge.errors import WatchError
from ssd_edge.loop.shown import watched
from ssd_edge.outputs.draw import annotate
from ssd_edge.outputs.json_lines import JsonLines
from ssd_edge.stream.frames import Frame
from ssd_edge.tracking.events import Event
from ssd_edge.tracking.plan import Line, Plan, Zone
from ssd_edge.tracking.tracker import Settings
from ssd_edge.tracking.watch import Watch, Watched
from tests.tracking.scenes import FPS, at, seen

LABELS = ("bolt", "nut")
SIZE = (400, 800)
HALF = ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0))  # the right half of the frame, from x = 400
Path_ = list[tuple[float, float] | None]


def follow(plan: Plan, *paths: Path_, labels: tuple[int, ...] = ()) -> tuple[Watch, list[Event]]:
    """Let objects stand at these points, one a frame, None where they are not seen; the bottom centre is the point."""
    watch, events = Watch(plan, LABELS), []
    for frame in range(max(map(len, paths))):
        here = [
            (path[frame] if frame < len(path) else None, label)
            for path, label in zip(paths, labels or [0] * len(paths), strict=True)
        ]
        shown = [(point, label) for point, label in here if point is not None]
        boxes = [at(x, y - 20) for (x, y), _ in shown]
        result = watch.update(seen(boxes, labels=[label for _, label in shown]), frame / FPS, SIZE)
        events += result.events
    return watch, events


def plan(*places: Zone | Line, **others: float) -> Plan:
    zones = tuple(place for place in places if isinstance(place, Zone))
    lines = tuple(place for place in places if isinstance(place, Line))
    return Plan(Settings([0.6, 0.6], lost=0.5), zones=zones, lines=lines, **others)


def walk(start: float, end: float, y: float = 200, step: float = 5) -> Path_:
    count = round(abs(end - start) / step) + 1
    return [(x, y) for x in np.linspace(start, end, count).tolist()]


def told(events: list[Event]) -> list[tuple[str, str, int]]:
    return [(event.kind, event.place, event.id) for event in events]


def test_an_object_enters_dwells_and_leaves() -> None:
    path = [*walk(300, 500), *[(500.0, 200.0)] * 60, *walk(500, 300)]
    watch, events = follow(plan(Zone("press", HALF, min_time=1.0)), path)
    assert told(events) == [("entered", "press", 1), ("dwelt", "press", 1), ("left", "press", 1)]
    entered, dwelt, left = events
    assert entered.time == pytest.approx(20 / FPS)  # at x = 400
    assert (entered.seconds, dwelt.seconds) == (None, pytest.approx(1.0))
    # outside by more than a hundredth of the height, 4 pixels: at x = 395
    assert left.time == pytest.approx((20 + 20 + 60 + 1 + 21) / FPS)
    assert left.seconds == pytest.approx(left.time - entered.time)
    assert watch.counts == {"press": {"inside": {}, "entered": {"bolt": 1}, "left": {"bolt": 1}, "dwelt": {"bolt": 1}}}
    assert watch.sentences() == ["1 object followed", "press: 1 bolt entered, 1 bolt left, 1 bolt dwelt"]
    assert watch.objects == 1


def test_one_that_does_not_stay_does_not_dwell() -> None:
    _, events = follow(plan(Zone("press", HALF, min_time=10.0)), walk(300, 500))
    assert told(events) == [("entered", "press", 1)]


def test_at_the_edge_nothing_flickers_without_margin_it_does() -> None:
    rng = np.random.default_rng(0)
    path: Path_ = [(400 + x, 200.0) for x in rng.uniform(-3.5, 3.5, 100)]
    places = Zone("press", HALF), Line("gate", ((0.5, 0.0), (0.5, 1.0)))
    assert told(follow(plan(*places), path)[1]) == [("entered", "press", 1)]
    planted = Counter(event.kind for event in follow(plan(*places, margin=0.0), path)[1])
    assert planted["left"] > 10
    assert planted["crossed"] > 10


def test_one_that_is_lost_in_a_zone_stays_there_until_it_is_forgotten() -> None:
    path: Path_ = [(500.0, 200.0)] * 20 + [None] * 10 + [(500.0, 200.0)] * 20
    assert told(follow(plan(Zone("press", HALF)), path)[1]) == [("entered", "press", 1)]
    path = [(500.0, 200.0)] * 20 + [None] * 30
    watch, events = follow(plan(Zone("press", HALF)), path)
    assert told(events) == [("entered", "press", 1), ("left", "press", 1)]
    assert events[1].seconds == pytest.approx(19 / FPS)  # until it was last seen
    assert watch.counts["press"]["inside"] == {}


def test_lines_count_by_direction() -> None:
    down = Line("gate", ((0.5, 0.0), (0.5, 1.0)))  # as one walks down the frame, the left of the frame is on the right
    watch, events = follow(plan(down), walk(300, 500), [*walk(500, 300, 300), *walk(300, 500, 300)])
    assert [(event.id, event.to) for event in events] == [(1, "left"), (2, "right"), (2, "left")]
    assert watch.counts == {"gate": {"to left": {"bolt": 2}, "to right": {"bolt": 1}}}
    # past its end, or only touched
    short = Line("gate", ((0.5, 0.0), (0.5, 0.25)))
    assert follow(plan(short), walk(300, 500, 200))[1] == []
    assert follow(plan(down), [*walk(300, 400), *walk(400, 300)])[1] == []


def test_a_line_is_crossed_while_the_object_is_not_seen() -> None:
    path: Path_ = walk(300, 500)
    path[15:25] = [None] * 10
    _, events = follow(plan(Line("gate", ((0.5, 0.0), (0.5, 1.0)))), path)
    assert told(events) == [("crossed", "gate", 1)]


def test_anchors_and_classes() -> None:
    low = ((0.0, 0.5), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0))
    zones = [Zone(anchor, low, anchor=anchor) for anchor in ("bottom", "centre", "top")]
    path: Path_ = [(100.0, y) for y in range(180, 260, 2)]  # the box is 40 high
    watch, events = follow(plan(*zones, Zone("nuts", low, frozenset({1}))), path, labels=(0,))
    assert [event.place for event in events] == ["bottom", "centre", "top"]
    assert [round(event.time * FPS) for event in events] == [10, 20, 30]
    assert watch.counts["nuts"]["entered"] == {}
    _, events = follow(plan(Zone("nuts", low, frozenset({1}))), path, labels=(1,))
    assert told(events) == [("entered", "nuts", 1)]


def test_classes_that_are_not_watched_are_left_out() -> None:
    watch = Watch(Plan(Settings([0.6, 0.6]), labels=frozenset({1})), LABELS)
    found = watch.update(seen([at(100, 100), at(300, 100)], labels=[0, 1]), 0.0, SIZE)
    assert found.labels.tolist() == [1]
    assert found.ids.tolist() == [1]


def test_detections_without_an_object_are_left_out_and_the_best_come_first() -> None:
    watch = Watch(plan(), LABELS)
    boxes = [at(100, 100), at(200, 100), at(300, 100)]
    for frame in range(2):
        found = watch.update(seen(boxes, [0.9, 0.8, 0.4]), frame / FPS, SIZE)
    assert found.scores.tolist() == pytest.approx([0.9, 0.8])
    assert found.ids.tolist() == [1, 2]
    assert len(watch.update(Detections.empty(), 1.0, SIZE)) == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1).map(np.random.default_rng))
def test_counts_add_up(rng: np.random.Generator) -> None:
    """Who entered has left or is inside; events and counts are the same numbers."""
    places = (
        Zone("a", HALF, min_time=0.3),
        Zone("b", ((0.2, 0.2), (0.7, 0.3), (0.4, 0.9))),
        Line("c", ((0.3, 0), (0.6, 1))),
    )
    paths: list[Path_] = []
    for _ in range(4):
        steps = np.cumsum(np.concatenate([rng.uniform(100, 700, (1, 2)) / [1, 2], rng.normal(0, 6, (60, 2))]), axis=0)
        missed = rng.random(61) < 0.15
        paths.append([None if gone else (x, y) for gone, (x, y) in zip(missed, steps.tolist(), strict=True)])
    watch, events = follow(plan(*places), *paths, labels=(0, 1, 0, 1))
    told_of = Counter((event.place, event.kind, LABELS[event.label]) for event in events)
    for name in ("a", "b"):
        for kind in ("entered", "left", *(("dwelt",) if name == "a" else ())):
            counted = watch.counts[name][kind]
            assert counted == {label: told_of[name, kind, label] for label in LABELS if told_of[name, kind, label]}
        for label in LABELS:
            inside = watch.counts[name]["inside"].get(label, 0)
            assert told_of[name, "entered", label] - told_of[name, "left", label] == inside >= 0
    crossed = sum(sum(one.values()) for one in watch.counts["c"].values())
    assert crossed == sum(number for (place, _, _), number in told_of.items() if place == "c")


def test_sinks_have_ids_events_and_counts(tmp_path: Path) -> None:
    watch, file = Watch(plan(Zone("press", HALF), Line("gate", ((0.1, 0), (0.1, 1)))), LABELS), tmp_path / "out.jsonl"
    shown = watched(watch)
    with JsonLines(file, LABELS) as sink:
        for index in range(2):
            frame = Frame(np.zeros((*SIZE, 3), np.uint8), index, 7.0 + index, None)
            sink.write(frame, shown(frame, seen([at(500, 100)])))
    first, second = map(json.loads, file.read_text().splitlines())
    assert first["detections"] == [{"id": 1, "label": "bolt", "score": 0.9, "box": [480, 80, 520, 120]}]
    assert first["events"] == [{"event": "entered", "place": "press", "id": 1, "label": "bolt"}]
    assert second["events"] == []
    assert second["counts"]["press"]["inside"] == {"bolt": 1}


def test_zones_lines_and_ids_are_drawn() -> None:
    image = np.zeros((*SIZE, 3), np.uint8)
    watch = Watch(plan(Zone("press", HALF), Line("gate", ((0.1, 0.5), (0.1, 1)))), LABELS)
    found = watch.update(seen([at(200, 150)]), 0.0, SIZE)
    drawn = annotate(image, found, LABELS)
    assert not image.any()
    assert drawn[399, 600].any()  # the lower edge of the zone
    assert drawn[300, 80].any()  # the line
    plain = annotate(image, Detections(found.boxes, found.scores, found.labels), LABELS)
    tag = np.s_[100:128, 180:400]
    assert (drawn[tag].any(axis=2).sum(axis=1) > plain[tag].any(axis=2).sum(axis=1)).any()  # it is longer


def test_ids_are_checked() -> None:
    one = seen([at(9, 9)])
    with pytest.raises(ValueError, match=r"ids must be \(1,\) int64, but got \(2,\) int64"):
        Watched(one.boxes, one.scores, one.labels, ids=np.zeros(2, np.int64))


def test_nothing_is_kept_of_objects_that_are_forgotten() -> None:
    watch = Watch(plan(Zone("press", HALF), Line("gate", ((0.6, 0), (0.6, 1)))), LABELS)
    for frame in range(600):
        spot = at(420 + 50 * (frame // 3 % 7), 100)
        watch.update(seen([spot]) if frame < 500 else Detections.empty(), frame / 3, SIZE)
    assert watch.objects > 50
    zone, line = watch._places
    assert not len(watch._tracker._tracks)
    assert not zone._inside  # type: ignore[union-attr]
    assert not line._last  # type: ignore[union-attr]


def test_points_in_pixels_of_another_shape_are_refused() -> None:
    watch = Watch(Plan(Settings([0.6, 0.6]), frame=(480, 640)), LABELS)
    for size in ((480, 640), (960, 1280), (360, 480), (225, 300), (33, 44), (480, 641)):
        watch.update(Detections.empty(), 0.0, size)
    with pytest.raises(WatchError, match="in pixels of 640x480, but frames are 1280x720, which has another shape"):
        watch.update(Detections.empty(), 0.0, (720, 1280))
