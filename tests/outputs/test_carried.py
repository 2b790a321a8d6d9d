"""Events of frames that an output lacks are told with a later frame, each with its own time and number."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssd_edge.detections import Detections
from ssd_edge.outputs import carried, isolated
from ssd_edge.outputs.clips import Clips, ClipSettings
from ssd_edge.outputs.isolated import Isolated
from ssd_edge.outputs.json_lines import JsonLines
from ssd_edge.outputs.sink import Sink
from ssd_edge.stream.frames import Frame
from ssd_edge.tracking.events import Event
from ssd_edge.tracking.watch import Watched
from tests.outputs.seen import LABELS, frame, watched
from tests.outputs.worlds import GONE, Clock, Place, until


class Told:
    """A sink that can be blocked or broken, and what it told: (number of the event's frame, number of the frame)."""

    def __init__(self, tells: bool = True) -> None:
        self.free, self.broken, self.refused = threading.Event(), False, -1
        self.free.set()
        self.tells, self.told, self.times = tells, [], []  # type: bool, list[tuple[int, int]], list[float | None]
        self.attempts = 0

    def open(self) -> Sink:
        if self.broken:
            raise GONE
        return _Teller(self)


class _Teller(Sink):
    def __init__(self, told: Told) -> None:
        self._told, self.tells_events = told, told.tells

    def write(self, frame: Frame, detections: Detections) -> None:
        assert self._told.free.wait(20)
        assert isinstance(detections, Watched)
        numbers = [late.index for late in detections.late] + [frame.index] * len(detections.events)
        if self._told.broken or self._told.refused in numbers:
            self._told.attempts += 1
            raise GONE
        self._told.told += [(number, frame.index) for number in numbers]
        self._told.times += [late.position for late in detections.late]


@pytest.fixture
def sink() -> Told:
    return Told()


@pytest.fixture
def output(sink: Told, lines: list[str], clock: Clock) -> Iterator[Isolated]:
    isolated_sink = Isolated(sink.open, "json", lines.append, clock=clock)
    yield isolated_sink
    sink.free.set()
    sink.broken = False
    isolated_sink.close()


def crossing(number: int = 0) -> Event:
    return Event("crossed", "gate 1", number, 0, number / 25, to="left")


def put(output: Isolated, *indices: int) -> None:
    """Write frames with a crossing each."""
    for index in indices:
        output.write(frame(index), watched(0, events=(crossing(index),)))


def drained(output: Isolated) -> None:
    until(lambda: output.report().queued == 0)


def test_events_of_frames_dropped_by_a_blocked_output_are_told(output: Isolated, sink: Told) -> None:
    sink.free.clear()
    put(output, *range(100))
    sink.free.set()
    drained(output)
    put(output, 100)
    output.close()
    assert sorted(number for number, _ in sink.told) == list(range(101))
    # The last that waited tells those that were dropped after it, since no frame came.
    assert {number: told for number, told in sink.told if number != told} == dict.fromkeys(range(30, 100), 29)
    assert sink.times == [number / 25 for number in range(30, 100)]
    report = output.report()
    assert (report.dropped, report.late_events, report.lost_events) == ({"slow": 70}, 70, 0)


def test_they_go_with_the_next_frame_that_is_taken(output: Isolated, sink: Told) -> None:
    sink.free.clear()
    put(output, 0)
    until(lambda: output._writing is not None)
    put(output, *range(1, 32))
    with output._changed:
        output._items.popleft()  # room for one
    put(output, 32, 33)
    sink.free.set()
    drained(output)
    assert sink.told == [(0, 0), *((n, n) for n in range(2, 30)), (30, 32), (31, 32), (33, 32), (32, 32)]


def test_events_of_an_outage_are_told_after_it(output: Isolated, sink: Told, lines: list[str], clock: Clock) -> None:
    put(output, 0)
    drained(output)
    sink.broken = True
    put(output, 1)
    until(lambda: output.report().state == "waiting")
    put(output, 2, 3)
    sink.broken = False
    clock.now += 2
    until(lambda: output.report().state == "writing")
    put(output, 4)
    drained(output)
    assert sink.told == [(0, 0), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert (output.report().late_events, output.report().lost_events) == (3, 0)
    assert not any("events" in line for line in lines)


def test_of_too_many_the_oldest_are_lost_and_counted(output: Isolated, sink: Told, lines: list[str]) -> None:
    sink.free.clear()
    number = isolated.AHEAD + carried.MOST_EVENTS + 7
    put(output, *range(number))
    assert len(lines) == 2
    assert "events are lost" in lines[1]
    sink.free.set()
    drained(output)
    output.close()
    assert sorted(index for index, _ in sink.told) == [
        *range(isolated.AHEAD),
        *range(number - carried.MOST_EVENTS, number),
    ]
    assert output.report().lost_events == 7
    assert lines[-1] == "output json: has ended, 7 events lost"


def test_an_event_that_is_refused_each_time_does_not_hold_up_the_others(
    output: Isolated, sink: Told, clock: Clock
) -> None:
    sink.refused = 1
    for index in range(8):
        until(lambda: output.report().state == "writing")
        put(output, index)
        until(lambda: output.report().queued == 0)
        clock.now += 2
    assert sink.attempts == carried.ATTEMPTS
    # Those that were told together with it are refused with it, but less often.
    assert [number for number, _ in sink.told] == [0, 2, 3, 4, 5, 6, 7]
    assert output.report().lost_events == 1


def test_events_that_no_frame_can_tell_are_lost_and_counted(lines: list[str], clock: Clock, sink: Told) -> None:
    sink.broken = True
    with Isolated(sink.open, "json", lines.append, patient=True, clock=clock) as output:
        put(output, 0, 1)
    assert output.report().lost_events == 2
    assert lines[-1] == "output json: could not be written until the end, 2 frames dropped, 2 events lost"


def test_a_blocked_output_at_the_end_loses_what_waits(
    output: Isolated, sink: Told, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolated, "CLOSING", 0.1)
    sink.free.clear()
    put(output, *range(32))
    output.close()
    assert output.report().lost_events == 32
    assert lines[-1] == "output json: did not end within 0 s, 30 frames lost, 32 events lost"
    sink.free.set()
    until(lambda: not any(each.name.startswith("sink") for each in threading.enumerate()))


def test_an_output_that_tells_no_events_lacks_none(lines: list[str]) -> None:
    place = Place()
    place.free.clear()
    with Isolated(place.open, "video", lines.append) as output:
        put(output, *range(40))
        place.free.set()
    assert (output.report().late_events, output.report().lost_events) == (0, 0)


def test_nothing_is_carried_into_detections_without_events(output: Isolated, sink: Told) -> None:
    """A camera that is no longer watched gives plain detections; its last events wait, and are counted at the end."""
    kept = carried.Carried()
    kept.keep(frame(3), watched(0, events=(crossing(),)))
    none = Detections.empty()
    assert kept.hand_on(none) is none
    assert len(kept) == 1
    kept.lose()
    assert kept.lost == 1


def late(number: int) -> Watched:
    kept = carried.Carried()
    kept.keep(frame(number), watched(0, events=(crossing(number),)))
    told = kept.hand_on(watched(0))
    assert isinstance(told, Watched)
    return told


def test_a_line_of_json_has_late_events_with_their_own_number_and_time(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with JsonLines(path, LABELS) as sink:
        sink.write(frame(50), late(40))
        sink.write(frame(51), watched(0))
    first, second = map(json.loads, path.read_text().splitlines())
    (event,) = first["late_events"]
    assert event.pop("captured").endswith("Z")
    assert event == {
        "index": 40,
        "time": 1.6,
        "event": "crossed",
        "place": "gate 1",
        "id": 40,
        "label": "bolt",
        "to": "left",
    }
    assert first["events"] == []
    assert "late_events" not in second


@pytest.mark.slow
def test_a_clip_is_made_of_a_late_event(tmp_path: Path) -> None:
    with Clips(tmp_path, LABELS, 25, ClipSettings("door", 1.0, 0.5)) as sink:
        for number in range(50, 60):
            sink.write(frame(number), late(40) if number == 55 else watched(0))
    (about,) = tmp_path.glob("*.json")
    (event,) = json.loads(about.read_text())["events"]
    assert (event["event"], event["index"], event["at"]) == ("crossed", 40, -0.4)
