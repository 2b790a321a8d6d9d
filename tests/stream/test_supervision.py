"""The state machine of a camera, and what passes as new, by a clock that only the test moves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_edge.errors import SourceError
from ssd_edge.stream.arrivals import Arrivals
from ssd_edge.stream.backoff import LAST_DELAY
from ssd_edge.stream.live import LiveSource, Taken
from ssd_edge.stream.supervision import Supervision


class Clock:
    """Clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class World:
    """A camera of 10 FPS, which does at each reading what its script says.

    ``frame``: a frame came. A number: one came that had been held for so many seconds. ``gone``: the connection ends.
    ``down``: it cannot be opened.
    """

    fps, live, way, unreadable = 10.0, True, "by hand", 0

    def __init__(self, script: list[object]) -> None:
        self.clock, self.script, self.lines, self.attempts, self.ended = Clock(), script, [], [], ""
        self.lines: list[str]
        self.attempts: list[float]
        state = Supervision("door", self.clock, chance=lambda: 0.5)
        state.tell = self.lines.append
        self.source = LiveSource("door", self.connect, "door is lost", supervision=state)
        self.source._stopping.wait = self.wait  # type: ignore[method-assign, assignment]

    def wait(self, seconds: float) -> bool:
        self.clock.now += seconds
        return not self.script

    def connect(self) -> World:
        self.attempts.append(self.clock.now)
        if self.script and self.script[0] == "down":
            self.script.pop(0)
            raise SourceError("no route")
        return self

    def take(self, stopping: Callable[[], bool]) -> Taken | None:
        step = self.script.pop(0) if self.script else "gone"
        if step == "gone":
            self.ended = "it hung up"
            return None
        held = float(step) if isinstance(step, int | float) else 0.0
        self.clock.now += 0.1
        return Taken(np.zeros((4, 4, 3), np.uint8), self.clock.now - held, 0.0)

    def release(self) -> None:
        pass


def test_an_outage_is_said_and_reported() -> None:
    world = World(["frame"] * 5 + ["gone", "down", "down", "down", "down", "down", "frame", "frame"])
    frames = [world.source.read() for _ in range(7)]
    assert [frame.index for frame in frames if frame] == list(range(7))
    assert world.lines == [
        "door: it hung up; waiting 0.2 s",
        "door: connecting again, 0.2 s after its last frame",
        "door: it is not back yet; waiting 0.4 s",
        "door: connecting again, 0.6 s after its last frame",
        "door: it is not back yet; waiting 0.8 s",
        "door: connecting again, 1.4 s after its last frame",
        "door: it is not back yet; waiting 1.0 s",
        "door: connecting again, 2.4 s after its last frame",
        "door: it is not back yet; waiting 1.0 s",
        "door: connecting again, 3.4 s after its last frame",
        "door: frames come again after 4.5 s, about 45 frames lost",
    ]
    assert world.source.supervision is not None
    health = world.source.supervision.health()
    assert (health.state, health.outage_count, health.frames_missed) == ("streaming", 1, 45)
    (outage,) = health.outages
    assert outage.seconds == pytest.approx(4.5)
    assert outage.reason == "it hung up"


def test_a_camera_that_hangs_up_after_each_frame_is_not_called_all_the_time() -> None:
    """It was called thirteen times a second, since each frame began the delays anew and the first attempt had none."""
    world = World(["frame", "gone"] * 60)
    for _ in range(50):
        world.source.read()
    gaps = np.diff(world.attempts)
    assert gaps.min() >= 0.2 * 0.99
    assert np.median(gaps) >= LAST_DELAY
    assert (world.clock.now - 1000) / len(world.attempts) > 1


@settings(deadline=None)
@given(attempts=st.integers(1, 200), chance=st.floats(0, 1))
def test_delays_are_bounded_and_vary(attempts: int, chance: float) -> None:
    state = Supervision("door", Clock(), lambda: chance)
    delays = [state.lost("gone") for _ in range(attempts)]
    assert 0.15 - 1e-9 <= min(delays) <= max(delays) <= LAST_DELAY
    assert delays[0] == pytest.approx(0.2 * (0.75 + 0.5 * chance))


def test_attempts_of_a_long_outage_are_said_once_a_minute() -> None:
    """Two lines a second would fill a log; the end is said, and the next outage as the first."""
    world = World(["frame", *["gone"], *["down"] * 300, "frame", "gone", "down", "frame"])
    for _ in range(2):
        world.source.read()
    attempts = [line for line in world.lines if "waiting" in line]
    assert len(world.attempts) > 300
    assert len(attempts) == 5 + 4
    assert len([line for line in world.lines if "connecting again" in line]) == len(attempts)
    assert "frames come again after 29" in world.lines[-1]
    world.lines.clear()
    world.source.read()
    assert len(world.lines) == 5


def test_an_attempt_that_took_long_is_followed_by_the_next_soon() -> None:
    """The delay counts from the beginning of an attempt, since a server that does not answer costs time by itself."""
    clock = Clock()
    state = Supervision("door", clock, lambda: 0.5)
    waited = []
    for seconds in (0.0, 0.1, 0.5, 0.5, 5.0):
        state.connect()
        clock.now += seconds
        waited.append(state.lost("no answer"))
    assert waited == pytest.approx([0.2, 0.3, 0.3, 0.5, 0.2])


def test_a_steady_camera_is_called_at_once_again() -> None:
    clock = Clock()
    state = Supervision("door", clock, lambda: 0.5)
    for _ in range(4):
        state.lost("gone")
    for _ in range(70):
        clock.now += 0.1
        state.frame()
    assert state.lost("gone") == pytest.approx(0.2)


@pytest.mark.parametrize(("interval", "patience"), [(0.04, 1.0), (0.5, 2.5)])
def test_a_stall_is_said_while_it_lasts(interval: float, patience: float) -> None:
    """After a second, or after five intervals of a slow source; once only."""
    clock, lines = Clock(), []
    lines: list[str]
    state = Supervision("door", clock)
    state.tell = lines.append
    for _ in range(9):
        clock.now += interval
        state.frame()
    clock.now += 0.99 * patience
    state.look()
    assert (state.state, lines) == ("streaming", [])
    clock.now += 0.02 * patience
    state.look()
    state.look()
    assert (state.state, lines) == ("stalled", [f"door: stalled, no frame for {patience:.1f} s"])
    health = state.health()
    assert (health.outage_count, health.state) == (1, "stalled")
    assert health.outage_seconds == pytest.approx(1.01 * patience)
    clock.now += 10
    state.frame()
    assert state.state == "streaming"
    assert state.health().outages[0].seconds == pytest.approx(10 + 1.01 * patience)


def test_what_was_held_through_a_stall_is_not_new() -> None:
    """Frames 5 and 10 s old were stamped "now": the decoder lets go of what it held."""
    world = World(["frame", "frame", 10.0, 5.0, "frame", "frame"])
    ages = [world.clock.now - frame.captured for _ in range(4) if (frame := world.source.read())]
    assert max(ages) == 0
    assert (world.source.too_old, world.source.reconnects) == (2, 0)


def test_a_slow_source_is_not_too_old_to_begin() -> None:
    """A frame each 3 s that comes one frame late, as parsers hand them out: its rate is known from two of them."""

    class Slow(World):
        def take(self, stopping: Callable[[], bool]) -> Taken | None:
            self.clock.now += 2.9
            self.script.insert(0, 3.0)
            return super().take(stopping)

    world = Slow([])
    frames = [world.source.read() for _ in range(10)]
    assert all(frame is not None for frame in frames)
    assert world.source.too_old == 2
    assert world.lines == []


def test_an_outage_does_not_make_the_source_a_slow_one() -> None:
    world = World(["frame"] * 30)
    for _ in range(20):
        world.source.read()
    world.clock.now += 60
    world.source.read()
    assert world.source.supervision is not None
    assert world.source.supervision.patience == 1.0


def test_a_source_that_only_sends_old_frames_is_opened_again() -> None:
    world = World(["frame", *[20.0] * 110, "frame"])
    assert world.source.read() is not None
    assert world.source.read() is not None
    assert world.source.reconnects == 1
    assert world.lines[0] == "door: it sends only old frames; waiting 0.2 s"


def arrivals(packets: list[tuple[float, float]], behind: int = 0) -> list[float]:
    """Pass (time of handing out, sender's time) of packets on, and return by how much each is older than that."""
    estimate = Arrivals(0.0, 0.0, behind)
    estimate.at(2 * packets[0][0] - packets[1][0], 0.5, None)
    return [now - estimate.at(now, 0.5, sent) for now, sent in packets]


def test_packets_that_come_late_together_are_as_old_as_their_delay() -> None:
    """After a stall of 15 s, a full network or server sends what it kept; the newest is new."""
    steady = [(1 + 0.04 * n, 0.04 * n) for n in range(300)]
    stalled = [(28.0 + 0.001 * n, 12.0 + 0.04 * n) for n in range(375)]
    late = arrivals(steady + stalled)[300:]
    true = [now - 1 - sent for now, sent in stalled]
    np.testing.assert_allclose(late, true, atol=1e-9)
    assert late[0] == pytest.approx(15)
    assert late[-1] == pytest.approx(28.374 - 1 - 26.96, abs=1e-9)


def test_a_pause_of_the_sender_makes_no_frame_old_for_long() -> None:
    """Its clock may stand still: then a frame counts as old until 10 s of the stream are over, never longer."""
    before = [(1 + 0.04 * n, 0.04 * n) for n in range(300)]
    after = [(33 + 0.04 * n, 12 + 0.04 * n) for n in range(300)]
    ages = arrivals(before + after)
    assert ages[300] == pytest.approx(20)
    assert max(ages[-40:]) == pytest.approx(0)


def test_a_sender_that_begins_anew() -> None:
    assert max(arrivals([(10 + n, 500 + n) for n in range(20)] + [(30 + n, n) for n in range(20)])) == 0


@settings(deadline=None)
@given(drift=st.floats(-0.001, 0.001))
def test_a_clock_that_runs_otherwise_does_not_make_frames_old(drift: float) -> None:
    """A sender's clock may be off by 0.1 %: over the two windows of 5 s and a frame each, that is 11 ms."""
    ages = arrivals([(1 + 0.5 * n * (1 + drift), 0.5 * n) for n in range(400)])
    assert max(ages) <= 0.0111


def test_a_parser_hands_a_picture_out_when_the_next_begins() -> None:
    """At 2 FPS that is half a second; the last picture before a stall comes after it, as old as the stall."""
    ages = arrivals([(1 + 0.5 * n, 0.5 * n) for n in range(20)] + [(25.5, 10.0)], behind=1)
    assert ages[1:20] == pytest.approx([0.5] * 19)
    assert ages[20] == pytest.approx(15.0)


def test_a_transport_stream_hands_a_picture_out_two_later() -> None:
    ages = arrivals([(1 + 0.5 * n, 0.5 * n) for n in range(20)] + [(25.5, 10.0), (26.0, 10.5)], behind=2)
    assert ages[2:20] == pytest.approx([1.0] * 18)
    assert ages[20:] == pytest.approx([15.5, 15.5])


def test_the_first_packet_after_a_pause_counts_as_held() -> None:
    """Motion JPEG over HTTP without lengths ends a picture where the next begins, which nothing tells."""
    estimate = Arrivals(0.0, 0.0, behind=0)
    assert [estimate.at(now, waited, None) for now, waited in [(3.0, 0.5), (3.5, 0.5), (18.5, 15.0), (18.6, 0.1)]] == [
        3.0,
        3.5,
        3.5,
        18.6,
    ]


def test_what_the_opening_kept_is_as_old_as_the_opening() -> None:
    estimate = Arrivals(100.0, 101.0, behind=0)
    assert [estimate.at(101.0, 0.0, 0.04 * n) for n in range(3)] == [100.0] * 3
    assert estimate.at(101.1, 0.1, 0.5) == 101.1
    assert estimate.at(101.1, 0.0, 0.54) == 101.1


@pytest.mark.parametrize("behind", [1, 2])
@pytest.mark.parametrize("first", [0.01, 0.7])
def test_what_a_busy_machine_did_not_read_is_not_told_as_new(behind: int, first: float) -> None:
    """It opens a stream, stands still for 0.7 s, and reads what came meanwhile, with pauses of 10 ms."""
    kept = [(100.9 + 0.01 * n, 0.01 if n else first, 0.066 * n) for n in range(11)]
    after = [(101.0 + 0.066 * n, 0.05, 0.66 + 0.066 * n) for n in range(1, 20)]
    estimate = Arrivals(100.0, 100.1, behind)
    too_new = [estimate.at(*packet) - (100.34 + packet[2]) for packet in kept + after]  # they came 100.34 s after that
    assert max(too_new) <= 1e-9
    assert too_new[-1] == pytest.approx(-0.066 * behind, abs=1e-6)


def test_a_sender_whose_clock_is_too_fast_is_not_held_for_old() -> None:
    """Its packets seem to come faster than they were sent, for ever."""
    estimate = Arrivals(0.0, 0.0, behind=1)
    ages = [0.04 * n - estimate.at(0.04 * n, 0.03, 0.12 * n) for n in range(1, 100)]
    assert max(ages[5:]) <= 0.04 + 1e-9
