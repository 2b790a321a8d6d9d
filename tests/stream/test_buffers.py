"""Buffer policies against a plain model of each, and the ledger, which must account for every frame."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Callable
from time import monotonic

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_edge.errors import SourceError
from ssd_edge.loop.stats import LoopStats
from ssd_edge.stream.buffers import EVERY, NEWEST, BufferPolicy, drop_oldest, parse_buffer
from ssd_edge.stream.capture import Capture
from ssd_edge.stream.frames import Frame, Source
from ssd_edge.stream.ledger import REASONS, in_words, ledger, missed_by
from ssd_edge.stream.supervision import Supervision

PIXELS = np.zeros((2, 2, 3), np.uint8)
POLICIES = [NEWEST, EVERY, drop_oldest(1), drop_oldest(3), drop_oldest(8)]
MAX_AGE = 50.0
SECONDS = 20  # after which a test has failed, however slow the machine is


class Sent(Source):
    """Camera that gives the frames that the test sends."""

    name, live = "sent", True

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self._frames: queue.Queue[Frame | None] = queue.Queue()

    def send(self, age: float) -> None:
        self._frames.put(Frame(PIXELS, self.number, monotonic() - age))
        self.number += 1

    def read(self) -> Frame | None:
        return self._frames.get()

    def stop(self) -> None:
        super().stop()
        self._frames.put(None)


class Model:
    """What a buffer should do, in a few lines."""

    def __init__(self, policy: BufferPolicy) -> None:
        self.policy, self.waiting, self.left_out = policy, list[tuple[int, bool]](), Counter[str]()

    @property
    def accepts(self) -> bool:
        """Whether a frame that is sent now will be read: where none is dropped, one more is held by the reader."""
        return bool(self.policy.dropped_as) or len(self.waiting) <= self.policy.length

    def send(self, index: int, old: bool) -> None:
        self.waiting.append((index, old))
        while self.policy.dropped_as and len(self.waiting) > self.policy.length:
            self.waiting.pop(0)
            self.left_out[self.policy.dropped_as] += 1

    def take(self) -> int | None:
        for _ in self.waiting[: self.policy.length]:  # not the one that the reader still holds
            index, old = self.waiting.pop(0)
            if not old:
                return index
            self.left_out["too_old"] += 1
        return None


ACTIONS = st.lists(st.sampled_from(["send", "send", "send old", "take", "damaged", "held", "lost"]), max_size=40)


@settings(max_examples=60, deadline=None)
@given(policy=st.sampled_from(POLICIES), actions=ACTIONS)
def test_every_frame_is_accounted_for(policy: BufferPolicy, actions: list[str]) -> None:
    source, stats, model = Sent(), LoopStats(), Model(policy)
    faults = {"damaged": "skipped", "held": "too_old", "lost": "lost"}
    with source, Capture(source, policy, MAX_AGE) as capture:
        for action in actions:
            if action == "take":
                settled(capture, model)
                frame = capture.take(0)
                assert (None if frame is None else frame.index) == model.take()
                stats.processed += frame is not None
            elif action in faults:
                setattr(source, faults[action], getattr(source, faults[action]) + 1)
            elif model.accepts:
                old = action == "send old"
                model.send(source.number, old)
                source.send(2 * MAX_AGE if old else 0.0)
                until(capture, lambda: capture.captured == source.number)
        now = stats.report("door", capture, ended=False)
        assert now.sent == now.processed + sum(now.ledger.values())
    report = stats.report("door", capture, ended=True)
    counted = Counter(actions)
    missed = {"damaged": counted["damaged"] + counted["lost"], "held": counted["held"]}
    assert report.ledger == ledger(model.left_out, missed, {"left": len(model.waiting)})
    assert report.captured == source.number
    assert report.sent == source.number + sum(missed.values()) == report.processed + sum(report.ledger.values())
    assert (report.buffer, report.camera) == (policy.name, "door")


def settled(capture: Capture, model: Model) -> None:
    """Wait until the reader has put down a frame for which there is room."""
    wanted = min(len(model.waiting), capture.policy.length)
    until(capture, lambda: len(capture._frames) >= wanted)


def until(capture: Capture, condition: Callable[[], bool]) -> None:
    limit = monotonic() + SECONDS
    with capture.changed:
        while not condition():
            assert monotonic() < limit
            capture.changed.wait(0.001)


def test_frames_of_an_outage_are_about_those_that_the_rate_tells() -> None:
    now = [100.0]
    source = Sent()
    source.supervision = Supervision("door", lambda: now[0])
    for _ in range(50):
        now[0] += 0.1
        source.supervision.frame()
    now[0] += 3.0
    source.supervision.frame()
    source.too_old = 12
    assert missed_by(source) == {"held": 12, "damaged": 0, "outage": 30 - 12}
    source.too_old = 40  # more came late than the rate tells: none is lost, and no number is below 0
    assert missed_by(source) == {"held": 40, "damaged": 0, "outage": 0}


def test_a_ledger_in_words() -> None:
    counts = ledger({"too_old": 2, "replaced": 0}, {"outage": 7, "too_old": 1})
    assert counts == {"too_old": 3, "outage": 7}
    assert in_words(counts) == "3 too old, 7 lost in an outage (about)"
    assert in_words({}) == ""
    assert list(ledger(dict.fromkeys(REASONS, 1))) == list(REASONS)


def test_policies_are_read_from_what_a_user_types() -> None:
    assert [parse_buffer(policy.name) for policy in POLICIES] == POLICIES
    for text in ("", "oldest", "drop-oldest", "drop-oldest:", "drop-oldest:0", "drop-oldest:-1", "drop-oldest:1001"):
        with pytest.raises(SourceError, match="a buffer must be newest, every, or drop-oldest with a length"):
            parse_buffer(text)


def test_pictures_have_no_rate_and_are_never_dropped() -> None:
    class Pictures(Sent):
        live, fps = False, None

    with Pictures() as source, Capture(source, NEWEST) as capture:
        assert capture.policy == EVERY


@pytest.mark.parametrize("policy", POLICIES)
def test_a_full_buffer_is_left_at_any_moment(policy: BufferPolicy) -> None:
    source = Sent()
    with source, Capture(source, policy) as capture:
        for _ in range(20):
            source.send(0.0)
        threading.Event().wait(0.01)
    stats = LoopStats().report("door", capture, ended=True)
    assert stats.captured == sum(stats.ledger.values())
