"""A loop on a machine that gets hot: frames are left out, a smaller engine takes over, and all comes back."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ssd_edge.engines.bundle.build import build_bundle
from ssd_edge.engines.bundle.load import load_bundle
from ssd_edge.graph.heads import write_heads
from ssd_edge.loop.camera import Camera
from ssd_edge.loop.degrade import FULL, Patience, Policy, ladder
from ssd_edge.loop.relief import Relief
from ssd_edge.loop.run import CameraLoop
from ssd_edge.machine.limits import Limit
from ssd_edge.machine.readings import Readings
from ssd_edge.stream.capture import Capture
from tests.cameras import FakeHeads, Kept, Ticking
from tests.helpers import small_spec
from tests.loop.test_cameras import SECONDS, Reaching, running
from tests.models_for_tests import marks_model, tiny_model

COOL = Readings({"tj": 60.0})
HOT = Readings({"tj": 99.0}, limits=(Limit("GPU", "heat"),))
AT_ITS_POWER_LIMIT = Readings({"GPU": 70.0}, limits=(Limit("GPU", "its power limit", usual=True),))
QUICK = Patience(down=2, up=3, most=12, gap=1.5)


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    """Two engines of two real bundles with the same labels."""
    folder = tmp_path_factory.mktemp("bundles")
    opened = []
    for name, model in (("full", tiny_model()), ("smaller", marks_model())):
        write_heads(model, small_spec(), folder / f"{name}.onnx")
        build_bundle(folder / f"{name}.onnx", folder / f"{name}.engine", "openvino")
        opened.append(load_bundle(Path(folder / f"{name}.engine")))
    yield opened
    for engine in opened:
        engine.close()


class Machine:
    """Gives a relief one of these readings a second, by a clock that only it moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def seconds(self, relief: Relief, readings: Readings, number: int) -> None:
        for _ in range(number):
            relief.heed(readings)
            self.now += 1


def report_of(loop: CameraLoop) -> Any:
    return loop.report().cameras["line"]


def wait_for_frames(kept: Reaching, number: int) -> None:
    kept.at = len(kept.indices) + number
    kept.reached.clear()
    assert kept.reached.wait(SECONDS)


def test_it_does_less_while_it_is_hot_and_all_again_later(engines):
    full, smaller = (engine.detector(0.01) for engine in engines)
    machine, kept, said = Machine(), Reaching(5), []
    with CameraLoop(full) as loop:
        relief = Relief(loop, Policy(ladder(has_smaller=True), QUICK), smaller, said.append, machine.clock)
        loop.add(Camera("line", Ticking(10**9, every=0.002), [kept]))
        with running(loop):
            wait_for_frames(kept, 5)
            machine.seconds(relief, COOL, 10)
            assert (loop.detector, report_of(loop).ledger.get("relief")) == (full, None)

            machine.seconds(relief, HOT, 3)
            wait_for_frames(kept, 20)
            thinned = report_of(loop)
            assert loop.detector is full
            assert thinned.ledger["relief"] >= 18

            machine.seconds(relief, HOT, 4)
            assert loop.detector is smaller
            wait_for_frames(kept, 20)  # so the other engine's frames are shown
            assert report_of(loop).ledger["relief"] >= thinned.ledger["relief"] + 36

            machine.seconds(relief, COOL, 12)
            assert loop.detector is full
            before = report_of(loop).ledger["relief"]
            wait_for_frames(kept, 20)
            assert report_of(loop).ledger["relief"] <= before + 1
    report = report_of(loop)
    assert report.sent == report.processed + sum(report.ledger.values())
    assert said == [
        "GPU slowed by heat for 2 s: from now on one frame of 2",
        "GPU slowed by heat for 4 s: from now on one frame of 3",
        "GPU slowed by heat for 6 s: from now on one frame of 3, by the smaller engine",
        "that is over for 3 s: from now on one frame of 3",
        "that is over for 6 s: from now on one frame of 2",
        "that is over for 9 s: from now on every frame",
    ]
    told = relief.to_json()
    assert (told["step"], told["number"]) == ("every frame", 6)
    assert told["changes"][0] == {"seconds": 12.0, "step": "one frame of 2", "why": "GPU slowed by heat for 2 s"}


def test_the_smaller_engine_gets_the_frames(engines):
    _, smaller = (engine.detector(0.01) for engine in engines)
    machine, kept, heads = Machine(), Reaching(3), FakeHeads()
    with CameraLoop(heads.detector()) as loop:
        relief = Relief(loop, Policy(ladder(has_smaller=True), Patience(down=0)), smaller, clock=machine.clock)
        loop.add(Camera("line", Ticking(10**9, every=0.002), [kept]))
        with running(loop):
            wait_for_frames(kept, 3)
            machine.seconds(relief, HOT, 3)
            wait_for_frames(kept, 3)  # those that were under way are out
            before = heads.submitted
            wait_for_frames(kept, 10)
            assert heads.submitted == before >= 3
    heads.close()


def test_limits_that_come_in_good_health_change_nothing(make_detector):
    machine, said = Machine(), []
    with CameraLoop(make_detector()) as loop:
        relief = Relief(loop, Policy(ladder(False), QUICK), None, said.append, machine.clock)
        machine.seconds(relief, AT_ITS_POWER_LIMIT, 100)
    assert said == []


def counting(*seconds):
    """A loop whose reports have these totals of (too old, processed), one a second."""
    reports = iter(seconds)

    def report():
        too_old, processed = next(reports)
        return SimpleNamespace(cameras={"a": SimpleNamespace(ledger={"too_old": too_old}, processed=processed)})

    return SimpleNamespace(report=report, detector=None, keep_one_in=lambda number: None)


def test_frames_that_are_too_old_are_trouble():
    machine, said = Machine(), []
    loop = counting((0, 30), (12, 48), (24, 66), (36, 84))
    machine.seconds(Relief(loop, Policy(ladder(False), QUICK), None, said.append, machine.clock), COOL, 4)
    assert said == ["frames too old (12 of 30) for 2 s: from now on one frame of 2"]


@pytest.mark.parametrize("totals", [[(0, 0)] * 9, [(n, 30 * n) for n in range(9)]])
def test_a_rare_late_frame_or_a_camera_without_frames_is_none(totals):
    machine, said = Machine(), []
    machine.seconds(Relief(counting(*totals), Policy(ladder(False), QUICK), None, said.append, machine.clock), COOL, 9)
    assert said == []


def test_a_camera_that_is_added_later_is_relieved_too(make_detector):
    machine, kept = Machine(), Reaching(10)
    with CameraLoop(make_detector()) as loop:
        relief = Relief(loop, Policy(ladder(False), Patience(down=0)), clock=machine.clock)
        machine.seconds(relief, HOT, 1)
        loop.add(Camera("line", Ticking(40, every=0.001), [kept]))
        loop.run()
    assert loop.report().cameras["line"].ledger["relief"] == 20
    assert all(index % 2 for index in kept.indices)


def test_no_frame_of_a_file_is_left_out_for_relief(make_detector):
    kept = Kept()
    with CameraLoop(make_detector()) as loop:
        loop.keep_one_in(3)
        loop.add(Camera("line", Ticking(9, every=0.001, live=False), [kept]))
        assert "relief" not in loop.run().cameras["line"].ledger


def test_one_in_three():
    capture = Capture(Ticking(9, every=0.001), one_in=3)
    while not capture.ended:
        capture.take(0.01)
    capture.close()
    assert capture.captured == 9
    assert capture.left_out["relief"] == 6


def test_the_policy_ends_at_full_work(make_detector):
    machine = Machine()
    with CameraLoop(make_detector()) as loop:
        relief = Relief(loop, Policy(ladder(False), QUICK), clock=machine.clock)
        machine.seconds(relief, HOT, 20)
        machine.seconds(relief, COOL, 60)
        assert relief.to_json()["step"] == str(FULL)
