"""Clips of events: with the seconds before, in bounded memory, one for events that overlap, and a JSON file beside."""

from __future__ import annotations

import json
import re
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest

from ssd_edge.detections import Detections
from ssd_edge.outputs import clips as module
from ssd_edge.outputs import preroll
from ssd_edge.outputs.clips import Clips, ClipSettings
from ssd_edge.outputs.happenings import Happenings
from ssd_edge.outputs.sink import DiskFullError
from ssd_edge.outputs.space import Space
from ssd_edge.stream.frames import Frame
from ssd_edge.tracking.events import Event
from ssd_edge.tracking.plan import Zone
from ssd_edge.tracking.watch import Watched
from tests.outputs.test_rotation import grey, played
from tests.outputs.test_sinks import some_detections
from tests.outputs.worlds import NOTHING

LABELS = ("bolt", "nut")
RATE = 10
PLACE = Zone("gate: 1/2", np.array([[0, 0], [1, 0], [1, 1]], np.float64))


def frame(index: int, position: float | None = None, size: tuple[int, int] = (120, 160)) -> Frame:
    made = grey(index, index / RATE if position is None else position, size)
    return Frame(made.pixels, index, monotonic(), made.position)


def watched(*kinds: str, label: int = 0) -> Watched:
    """What was followed in a frame, in which one object did these things."""
    events = tuple(Event(kind, PLACE.name, 7, label, 0.0, seconds=1.5) for kind in kinds)  # type: ignore[arg-type]
    none = Detections.empty()
    counts = {PLACE.name: {"inside": {}}}
    return Watched(none.boxes, none.scores, none.labels, events=events, counts=counts, places=(PLACE,))


def record(folder: Path, count: int, events: dict[int, Detections], settings: ClipSettings) -> None:
    with Clips(folder, LABELS, RATE, settings) as sink:
        for index in range(count):
            sink.write(frame(index), events.get(index, watched()))


def clips_in(folder: Path) -> list[tuple[list[int], dict[str, Any]]]:
    """The frames of each clip, which must be complete, and its JSON."""
    found = []
    for video in sorted(folder.glob("*.mp4")):
        about = json.loads(video.with_suffix(".json").read_text())
        assert about["video"] == video.name
        frames = played(video)
        assert frames[0][0] == 0
        assert about["frames"] == len(frames)
        assert about["seconds"] == pytest.approx(frames[-1][0], abs=0.002)
        found.append((_indices(frames), about))
    assert len(list(folder.iterdir())) == 2 * len(found)
    return found


def _indices(frames: list[tuple[float, int]]) -> list[int]:
    return [index for _, index in frames]


SHORT = ClipSettings("line 3: door/left", 2.0, 1.0)


def test_a_clip_has_the_seconds_before_and_after(tmp_path: Path) -> None:
    record(tmp_path / "clips", 90, {50: watched("entered")}, SHORT)
    ((indices, about),) = clips_in(tmp_path / "clips")
    assert indices == list(range(30, 61))
    assert (about["camera"], about["before"], about["complete"]) == (SHORT.camera, 2.0, True)
    (event,) = about["events"]
    assert event.items() >= {"at": 2.0, "index": 50, "event": "entered", "place": PLACE.name, "label": "bolt"}.items()
    (video,) = (tmp_path / "clips").glob("*.mp4")
    expected = r"clip-00000001-\d{8}T\d{6}Z-line_3__door_left-entered-gate__1_2\.mp4"
    assert re.fullmatch(expected, video.name)
    stamp = re.sub(r"[-:]|\.\d+", "", event["time"])
    assert stamp in video.name


def test_events_that_overlap_are_one_clip_and_others_another(tmp_path: Path) -> None:
    events = {10: watched("entered"), 15: watched("dwelt", "crossed"), 24: watched("entered"), 70: watched("crossed")}
    record(tmp_path, 90, events, SHORT)
    (first, about), (second, _) = clips_in(tmp_path)
    assert first == list(range(35))
    assert second == list(range(50, 81))
    assert [(event["at"], event["event"]) for event in about["events"]] == [
        *((1.0, "entered"), (1.5, "dwelt"), (1.5, "crossed"), (2.4, "entered"))
    ]


def test_the_first_frame_and_the_last(tmp_path: Path) -> None:
    record(tmp_path, 45, {0: watched("entered"), 44: watched("entered")}, SHORT)
    (first, _), (second, _) = clips_in(tmp_path)
    assert first == list(range(11))
    assert second == list(range(24, 45))


def test_who_leaves_makes_no_clip(tmp_path: Path) -> None:
    record(tmp_path, 40, {20: watched("left")}, SHORT)
    assert clips_in(tmp_path) == []


def test_without_places_a_class_that_comes_into_view_is_an_event(tmp_path: Path) -> None:
    bolt, both = some_detections((1, 1, 9, 9)), some_detections((1, 1, 9, 9), (9, 9, 20, 20))
    events: dict[int, Detections] = dict.fromkeys(range(20, 40), bolt)
    events[35] = both
    with Clips(tmp_path, LABELS, RATE, SHORT) as sink:
        for index in range(90):
            sink.write(frame(index), events.get(index, NOTHING))
    ((_, about), (_, later)) = clips_in(tmp_path)
    assert [(event["index"], event["label"]) for event in about["events"]] == [(20, "bolt")]
    assert [(event["index"], event["label"]) for event in later["events"]] == [(35, "nut")]


def test_a_class_is_seen_anew_after_two_seconds() -> None:
    happenings, bolt = Happenings(LABELS), some_detections((1, 1, 9, 9))
    times = (0.0, 0.5, 2.4, 4.5, 4.6, 1.0)  # at last the recording begins anew
    assert [len(happenings.of(bolt, time)) for time in times] == [1, 0, 0, 1, 0, 1]
    assert happenings.of(NOTHING, 1.1) == []
    assert happenings.of(bolt, 5.0)[0].name == "seen-bolt"


@pytest.mark.slow
def test_an_endless_event_is_cut_into_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 2.0)
    record(tmp_path, 60, dict.fromkeys(range(60), watched("entered")), ClipSettings("", 0.2, 1.0))
    found = clips_in(tmp_path)
    assert len(found) > 2
    assert all(len(indices) <= 21 for indices, _ in found)
    assert {index for indices, _ in found for index in indices} == set(range(60))


@pytest.mark.slow
def test_a_clip_ends_at_its_largest_size(tmp_path: Path) -> None:
    with Clips(tmp_path, LABELS, RATE, ClipSettings("", 0.2, 60.0, largest=30_000)) as sink:
        for index in range(90):
            noise = np.random.default_rng(index).integers(0, 256, (120, 160, 3), np.uint8)
            sink.write(Frame(noise, index, monotonic(), index / RATE), watched("entered"))
    assert len(list(tmp_path.glob("*.mp4"))) > 2


def test_another_size_or_an_earlier_time_ends_a_clip(tmp_path: Path) -> None:
    with Clips(tmp_path, LABELS, RATE, SHORT) as sink:
        for index in range(10):
            sink.write(frame(index), watched("entered") if index == 5 else watched())
        for index in range(10, 20):
            sink.write(frame(index, size=(160, 200)), watched("entered") if index == 15 else watched())
        for index in range(20, 30):
            sink.write(frame(index, (index - 20) / RATE, (160, 200)), watched("entered") if index == 25 else watched())
    assert [indices for indices, _ in clips_in(tmp_path)] == [
        *(list(range(10)), list(range(10, 20)), list(range(20, 30)))
    ]


def test_the_seconds_before_are_kept_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preroll, "MOST_BYTES", 40_000)
    record(tmp_path, 60, {50: watched("entered")}, ClipSettings("", 4.0, 0.5))
    ((indices, about),) = clips_in(tmp_path)
    assert 2 <= indices.index(50) < 20
    assert about["before"] < 2


def test_a_camera_that_is_lost_ends_the_clip(tmp_path: Path) -> None:
    with Clips(tmp_path, LABELS, RATE, ClipSettings("", 1.0, 0.05)) as sink:
        sink.write(frame(0), watched("entered"))
        limit = monotonic() + 10
        while monotonic() < limit:
            sink.idle()
            about = json.loads(next(tmp_path.glob("*.json")).read_text())
            if about["complete"]:
                break
        assert about["complete"]


def test_after_a_crash_it_is_known_what_happened(tmp_path: Path) -> None:
    sink = Clips(tmp_path, LABELS, RATE, SHORT)
    for index in range(10):
        sink.write(frame(index), watched("entered") if index == 5 else watched())
    about = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert not about["complete"]
    assert about["events"][0]["index"] == 5
    sink.close()


def test_clips_wait_for_room(tmp_path: Path) -> None:
    full = Space(floor=10, usage=lambda path: (100, 95, 5))
    with pytest.raises(DiskFullError, match="less than 10 B are free"):
        Clips(tmp_path, LABELS, RATE, SHORT, space=full)
