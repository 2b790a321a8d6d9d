"""Recordings of a service's frames are each of one detector, whatever is reloaded, and replay to the last bit."""

from __future__ import annotations

import os
import signal
from time import sleep

import pytest

from ssd_edge.engines.opening import open_model
from ssd_edge.errors import ServiceError
from ssd_edge.replay.check import replayed
from ssd_edge.replay.reading import open_recording
from ssd_edge.service.control import ask
from ssd_edge.service.seat import EngineSeat
from tests.service.running import synthetic, until
from tests.service.test_swaps import built

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of POSIX"),
    pytest.mark.slow,
]

WATCH = {"zones": [{"name": "all", "points": [[0, 0], [1, 0], [1, 1], [0, 1]]}], "tracking": {"low": 0.35}}
RECORD = {"outputs": {"record": {"to": "rec", "rotate_size": "10MB"}}}


def verdict(folder, camera, model):
    recording = open_recording(folder, camera)
    with open_model(model) as engine:
        return recording, replayed(recording, engine)


@pytest.fixture
def slow_exchange(monkeypatch):
    """Frames come between the take-over of another detector and what is done next."""
    take_over = EngineSeat.take_over

    def slowly(seat, *what):
        idle = take_over(seat, *what)
        sleep(0.5)
        return idle

    monkeypatch.setattr(EngineSeat, "take_over", slowly)


def test_each_run_of_a_recording_is_of_one_detector(service, tmp_path, slow_exchange):
    a, b = synthetic(1, min_score=0.35, watch=WATCH, **RECORD), synthetic(2, min_score=0.35, **RECORD)

    def script(running):
        until(lambda: running.processed("a") >= 5 and running.processed("b") >= 5)
        running.reload({"a": a, "b": b, "c": synthetic(3, min_score=0.01)})  # lower scores are asked for
        assert running.log.has("the file was read again: new c; changed a, b")
        until(lambda: running.processed("a") >= 5)
        os.utime(service.model / "manifest.json", ns=(1, 1))
        running.reload()
        assert running.log.has("changed a, b; another model")
        until(lambda: running.processed("a") >= 5)
        running.reload({"a": a, "b": b, "c": synthetic(3, min_score=0.01), "d": synthetic(4)})
        assert running.log.lines[-1][1].endswith("new d")
        with pytest.raises(ServiceError, match="record keeps the run of one engine, so that none can be exchanged"):
            list(ask(service.path, {"swap": str(service.model)}))

    report, _ = service({"a": a, "b": b}, script)
    assert report.exchanges == 2
    for name in ("a", "b"):
        recording, told = verdict(tmp_path / "rec", name, service.model)
        assert [run.head.lowest_score for run in recording.runs] == pytest.approx([0.35, 0.01, 0.01])
        assert told.equal, told.first
        assert told.frames > 10
        stages = ("picture", "preprocess", "network", "decode", "tracking")
        assert told.compared == (stages if name == "a" else stages[:-1])


def test_a_camera_begins_to_record_by_a_reload_and_ends_by_one(service, tmp_path):
    def script(running):
        until(lambda: running.processed("a") >= 3 and running.processed("b") >= 3)
        running.reload({"a": synthetic(1, **RECORD), "b": synthetic(2)}, page=0)
        until(lambda: running.processed("a") >= 5)
        running.reload({"a": synthetic(1), "b": synthetic(2)}, page=0)
        until(lambda: running.processed("a") >= 3)

    report, log = service({"a": synthetic(1), "b": synthetic(2)}, script, page=0)
    assert log.has("the file was read again: changed a")
    assert set(report.cameras["b"].ledger) <= {"left"}
    assert report.exchanges == 2  # with traces, and without
    recording, told = verdict(tmp_path / "rec", None, service.model)
    assert (len(recording.runs), told.equal) == (1, True)
    assert "network" in told.compared


def test_a_model_of_other_classes_is_refused_and_recording_goes_on(service, tmp_path):
    other = built(tmp_path, "others", labels=("nut", "bolt"))

    def script(running):
        until(lambda: running.processed("a") >= 5)
        running.reload({"a": synthetic(1, **RECORD)}, model=str(other))
        assert running.log.has("refused, the old one goes on: the new engine has other labels")
        until(lambda: running.processed("a") >= 5)

    service({"a": synthetic(1, **RECORD)}, script)
    recording, told = verdict(tmp_path / "rec", "a", service.model)
    assert (len(recording.runs), told.equal) == (2, True)
