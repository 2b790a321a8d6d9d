"""A dead, blocked or slow output never stops the loop; what it lacks is counted, and each change is told once."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest

from ssd_edge.detections import Detections
from ssd_edge.detector import Detector
from ssd_edge.errors import SinkError
from ssd_edge.loop.run import run_loop
from ssd_edge.outputs import isolated
from ssd_edge.outputs.background import Background
from ssd_edge.outputs.isolated import Isolated
from ssd_edge.outputs.json_lines import JsonLines
from ssd_edge.outputs.opening import open_outputs, waits_for_outputs
from ssd_edge.outputs.pieces import Pieces
from ssd_edge.outputs.sink import DiskFullError, OutputReport, Sink, StopLoop
from ssd_edge.stream.buffers import EVERY
from ssd_edge.stream.frames import Frame
from tests.cameras import Ticking
from tests.outputs.worlds import GONE, NOTHING, Clock, Place, blank, until

MakeDetector = Callable[..., Detector]


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
def output(place: Place, lines: list[str], clock: Clock) -> Iterator[Isolated]:
    sink = Isolated(place.open, "video", lines.append, clock=clock)
    yield sink
    place.free.set()
    place.broken = place.refuses = None
    sink.close()


def put(output: Isolated, *indices: int) -> None:
    """Write frames one after the other, each once the one before is dealt with."""
    for index in indices:
        output.write(blank(index), NOTHING)
        until(lambda: report(output).queued == 0)


def report(output: Isolated) -> OutputReport:
    return output.report()


def test_frames_are_written_in_order(output: Isolated, place: Place) -> None:
    put(output, *range(5))
    output.close()
    assert place.got == [[0, 1, 2, 3, 4]]
    assert place.closed == 1
    now = report(output)
    assert (now.state, now.written, now.dropped, now.reopened, now.last_error) == ("closed", 5, {}, 0, "")


def test_its_file_is_known_at_once(tmp_path: Path, lines: list[str]) -> None:
    """Before a frame is written the loop compares it with the source, which must not be overwritten."""
    with Isolated(lambda: JsonLines(tmp_path / "out.jsonl", ()), "json", lines.append) as output:
        assert output.path == tmp_path / "out.jsonl"


def test_an_error_is_told_once_and_the_output_goes_on(
    output: Isolated, place: Place, lines: list[str], clock: Clock
) -> None:
    put(output, 0, 1)
    place.broken = place.refuses = GONE
    put(output, 2)
    until(lambda: report(output).state == "waiting")
    for index in range(3, 103):
        output.write(blank(index), NOTHING)
    for attempt in range(2, 6):  # not back yet
        clock.now += 2.0
        until(lambda attempt=attempt: place.attempts == attempt)  # type: ignore[misc]
    place.broken = place.refuses = None
    clock.now += 2.0
    until(lambda: report(output).state == "writing")
    put(output, 103)
    clock.now += 1.5
    put(output, 104)
    assert place.got == [[0, 1], [103, 104]]
    (down, up) = lines
    assert re.fullmatch(r"output video: cannot write out: it is gone; trying again in 0\.[12] s", down)
    assert up == "output video: writes again after 10 s, 101 frames dropped"
    now = report(output)
    assert (now.written, now.dropped, now.reopened, now.last_error) == (4, {"failed": 101}, 1, str(GONE))


def test_an_output_that_only_seems_to_be_back_tells_nothing(
    output: Isolated, place: Place, lines: list[str], clock: Clock
) -> None:
    """It opens and takes a frame, and fails at the next, as a video on a full disk does."""
    for index in range(0, 20, 2):
        until(lambda: report(output).state == "writing")
        put(output, index)
        place.broken = GONE
        put(output, index + 1)
        until(lambda: report(output).state == "waiting")
        place.broken = None
        clock.now += 2.0
    assert len(lines) == 1
    assert report(output).dropped == {"failed": 10}
    until(lambda: report(output).state == "writing")
    put(output, 20)
    output.close()
    assert lines[1:] == ["output video: writes again after 20 s, 10 frames dropped"]


def test_another_error_is_told_too(output: Isolated, place: Place, lines: list[str], clock: Clock) -> None:
    place.broken, place.refuses = GONE, ValueError("a fault of ours")
    put(output, 0)
    clock.now += 2
    until(lambda: len(lines) == 2)
    assert "output video: ValueError: a fault of ours; trying again in" in lines[1]
    clock.now += 2
    until(lambda: place.attempts == 3)
    output.close()
    assert lines[2:] == ["output video: could not be written until the end, 1 frame dropped"]


def test_a_blocked_output_drops_frames_and_tells_it_once(
    output: Isolated, place: Place, lines: list[str], clock: Clock
) -> None:
    place.free.clear()
    for index in range(100):
        output.write(blank(index), NOTHING)
    assert report(output).state == "slow"
    assert report(output).queued == isolated.AHEAD
    assert lines == ["output video: does not keep up; frames are dropped"]
    place.free.set()
    until(lambda: report(output).queued == 0)
    clock.now += 11
    put(output, 100)
    assert report(output).state == "writing"
    assert lines[1:] == ["output video: keeps up again, 70 frames dropped"]
    assert place.all == [*range(30), 100]


def test_large_frames_are_not_kept_by_the_dozen(output: Isolated, place: Place) -> None:
    place.free.clear()
    for index in range(10):
        output.write(blank(index, (3000, 3000)), NOTHING)  # 27 MB each
    assert report(output).queued == 2


def test_the_end_does_not_wait_for_a_blocked_output(
    output: Isolated, place: Place, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolated, "CLOSING", 0.2)
    place.free.clear()
    for index in range(7):
        output.write(blank(index), NOTHING)
    began = monotonic()
    output.close()
    assert monotonic() - began < 10
    assert lines == ["output video: did not end within 0 s, 7 frames lost"]
    assert report(output).dropped == {"late": 7}
    place.free.set()  # by then the process may live on
    until(lambda: place.closed == 1 and not any(each.name.startswith("sink") for each in threading.enumerate()))


def test_an_output_is_idle_while_no_frame_comes(output: Isolated, place: Place) -> None:
    until(lambda: place.idled >= 2)


def test_an_output_that_cannot_be_opened_at_the_start_is_an_error(place: Place, lines: list[str]) -> None:
    place.refuses = GONE
    with pytest.raises(SinkError, match="it is gone"):
        Isolated(place.open, "video", lines.append)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("sink")] == []


def test_a_disk_that_is_full_at_the_start_is_waited_for(place: Place, lines: list[str]) -> None:
    place.refuses = DiskFullError("cannot write out: No space left on device")
    with Isolated(place.open, "video", lines.append) as output:
        output.write(blank(0), NOTHING)
        place.refuses = None
        until(lambda: output.report().state == "writing")
        put(output, 1)
    assert place.got == [[1]]
    assert output.report().dropped == {"failed": 1}
    assert len(lines) == 2


def test_the_reader_of_a_pipe_ends_the_loop(output: Isolated, place: Place) -> None:
    place.broken = StopLoop()
    put(output, 0)
    with pytest.raises(StopLoop):
        until(lambda: output.idle())  # type: ignore[func-returns-value]


def test_age_counts_the_wait_in_the_queue(place: Place) -> None:
    with Isolated(place.open, "video", lambda line: None) as output:
        place.free.clear()
        for index in range(5):
            output.write(Frame(blank(0).pixels, index, monotonic() - 3.0), NOTHING)
        place.free.set()
    assert output.report().age.p50 >= 3.0
    with Background(place.open()) as waited:
        waited.write(Frame(blank(0).pixels, 0, monotonic() - 3.0), NOTHING)
    assert waited.report().age.p50 >= 3.0


class Freeing(Sink):
    """Frees a blocked place at a frame."""

    def __init__(self, place: Place, index: int) -> None:
        self._place, self._index = place, index

    def write(self, frame: Frame, detections: Detections) -> None:
        if frame.index == self._index:
            self._place.free.set()


def test_the_loop_survives_its_outputs_and_reports_them(make_detector: MakeDetector, lines: list[str]) -> None:
    dead, blocked, sound = Place(), Place(), Place()
    dead.broken = GONE
    blocked.free.clear()
    places = {"dead": dead, "blocked": blocked, "sound": sound}
    sinks = open_outputs({name: place.open for name, place in places.items()}, lines.append, wait=False)
    done = run_loop(make_detector(), Ticking(100, 0.005), [*sinks, Freeing(blocked, 90)], buffer=EVERY)
    assert done.processed == 100
    outputs = {output.name: output for output in done.outputs}
    assert set(outputs) == set(places)
    for output in outputs.values():
        assert output.written + sum(output.dropped.values()) == 100
    assert outputs["dead"].written == 0
    assert outputs["sound"].written > 0
    assert outputs["blocked"].dropped["slow"] >= 90 - isolated.AHEAD
    assert done.age.p99 >= outputs["blocked"].age.p99 > 0.3  # it waited for frame 90
    plain = done.to_json()["outputs"]
    assert [one["name"] for one in plain] == list(places)
    assert set(plain[0]["age"]) == {"p50", "p90", "p99"}


def test_every_frame_of_a_file_is_waited_for(make_detector: MakeDetector, lines: list[str]) -> None:
    recording = Ticking(50, live=False)
    assert waits_for_outputs(recording, every_frame=True)
    assert not waits_for_outputs(recording, every_frame=False)
    assert not waits_for_outputs(Ticking(50), every_frame=True)
    place = Place()
    place.broken = GONE
    with pytest.raises(SinkError, match="it is gone"):
        run_loop(make_detector(), recording, open_outputs({"video": place.open}, lines.append, wait=True), buffer=EVERY)


def test_outputs_that_were_opened_are_closed_if_another_cannot_be(lines: list[str]) -> None:
    good, bad = Place(), Place()
    bad.refuses = GONE
    with pytest.raises(SinkError, match="it is gone"):
        open_outputs({"json": good.open, "video": bad.open}, lines.append, wait=False)
    assert good.closed == 1


def test_json_is_continued_after_an_error(tmp_path: Path, lines: list[str]) -> None:
    """The folder goes away and comes back; the file in it keeps its lines, and half a line is removed."""
    path = tmp_path / "out.jsonl"
    path.write_text("of an earlier run\n")
    pieces = Pieces(path)
    first = JsonLines(path, (), pieces)
    first.write(blank(0), NOTHING)
    first.close()
    with path.open("a") as file:
        file.write('{"index": 1, "ti')
    with JsonLines(path, (), pieces) as second:
        second.write(blank(2), NOTHING)
    assert [line[:11] for line in path.read_text().splitlines()] == ['{"index": 0', '{"index": 2']
