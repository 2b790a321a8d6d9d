"""A service in this process: another thread changes its file, sends signals, and asks its pages."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
from contextlib import closing, suppress
from itertools import pairwise
from time import sleep

import pytest

from ssd_edge.errors import ServiceError, SourceError
from ssd_edge.loop.degrade import Patience, Policy
from ssd_edge.machine.heat import HeatRecorder
from ssd_edge.machine.limits import Limit
from ssd_edge.machine.readings import Readings
from ssd_edge.service import engine_room, health
from ssd_edge.service import running as service_running
from ssd_edge.stream.frames import Frame
from tests.cameras import Ticking
from tests.service.running import SECONDS, Unplugged, free_port, indices, synthetic, until

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of POSIX")


def test_a_reload_costs_the_other_cameras_no_frame(service, tmp_path):
    outputs = {"outputs": {"json": "{camera}.jsonl"}}

    def script(running):
        until(lambda: running.processed("a") >= 5 and running.processed("b") >= 5)
        running.reload({"a": synthetic(1), "b": synthetic(2, min_score=0.9), "c": synthetic(3)}, **outputs)
        until(lambda: running.processed("c") >= 3 and running.processed("b") >= 3)
        running.reload({"a": synthetic(1), "c": synthetic(3)}, **outputs)
        seen = running.processed("a")
        until(lambda: running.processed("a") >= seen + 5)

    report, log = service({"a": synthetic(1), "b": synthetic(2)}, script, **outputs)
    assert log.has("the file was read again: new c; changed b")
    assert log.has("the file was read again: gone b")
    seen = indices(tmp_path, "a")
    assert seen == list(range(len(seen)))
    assert report.cameras.keys() == {"a", "c"}
    assert report.cameras["a"].processed == len(seen) >= 10
    assert set(report.cameras["a"].ledger) <= {"left"}
    restarts = [b for a, b in pairwise(indices(tmp_path, "b")) if b <= a]
    assert restarts == [0]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"cameras": {"a": {"source": "synthetic:1", "fsp": 3}}}, "there is no setting 'fsp'; did you mean fps?"),
        ({"cameras": {"a": {"source": "/no/such.mp4"}}}, "there is no file or folder /no/such.mp4"),
        ({"model": "gone.engine", "cameras": {"a": synthetic(1)}}, "there is no model"),
        (
            {"cameras": {"a": synthetic(1, watch={"classes": {"cat": None}})}},
            "the model has no class 'cat'; there are",
        ),
        ({"cameras": {"a": synthetic(1, outputs={"json": "/no/such/a.jsonl"})}}, "there is no folder /no/such"),
    ],
)
def test_a_bad_file_is_refused_and_the_old_one_goes_on(service, settings, sentence):
    def script(running):
        until(lambda: running.processed("a") >= 3)
        running.reload(**{"described": settings["cameras"], **settings})
        seen = running.processed("a")
        until(lambda: running.processed("a") >= seen + 3)
        assert 'ssd_edge_reloads_total{outcome="refused"} 1' in running.metrics()

    report, log = service({"a": synthetic(1)}, script)
    assert log.has("refused, the old one goes on: ")
    assert log.has(sentence)
    assert set(report.cameras["a"].ledger) <= {"left"}


def test_each_setting_that_needs_a_restart_is_said(service):
    other = free_port()
    settings = {
        "metrics": other,
        "page": free_port(),
        "log": "json",
        "disk": {"quota": "1GB"},
        "degrade": "engine",
        "fallback": str(service.model),
    }

    def script(running):
        until(lambda: running.processed("a") >= 3)
        for name, value in settings.items():
            needed = {"degrade": "engine"} if name == "fallback" else {}
            running.log.lines.clear()
            running.reload({"a": synthetic(1)}, **{name: value}, **needed)
            until(lambda: running.log.has("the file was read again: nothing changed"))
            assert [message for _, message in running.log.lines] == [
                *(f"{one} was changed in the file: restart the service to have it so" for one in (*needed, name)),
                "the file was read again: nothing changed",
            ]
        assert running.health()[0] == 200  # where it was from the start

    service({"a": synthetic(1)}, script)


def test_another_model_takes_over_between_two_frames(service):
    def script(running):
        until(lambda: running.processed("a") >= 3)
        running.reload()
        assert running.log.has("nothing changed")
        manifest = service.model / "manifest.json"
        os.utime(manifest, ns=(1, 1))
        running.reload()
        assert running.log.has("the file was read again: another model")
        seen = running.processed("a")
        until(lambda: running.processed("a") >= seen + 3)

    report, _ = service({"a": synthetic(1)}, script)
    assert report.exchanges == 1
    assert set(report.cameras["a"].ledger) <= {"left"}


def test_a_hot_machine_is_relieved_also_while_another_model_comes(service, monkeypatch, tmp_path):
    """At the last step the smaller engine works; a new model's smaller one takes over, and in the end the full one."""
    now = [Readings(limits=(Limit("GPU", "heat"),))]
    monkeypatch.setattr(service_running, "HeatRecorder", lambda listen: HeatRecorder(lambda: now[0], 0.02, listen))
    monkeypatch.setattr(engine_room, "Policy", lambda steps: Policy(steps, Patience(down=0.1, up=0.1)))
    smaller = shutil.copytree(service.model, tmp_path / "smaller.engine")
    described = {"a": {"source": "synthetic"}}

    def script(seen):
        until(lambda: seen.report and seen.log.has("GPU slowed by heat for") and seen.log.has("by the smaller engine"))
        other = shutil.copytree(service.model, tmp_path / "other.engine")
        before = seen.report.exchanges
        seen.write(described, model=str(other), degrade="engine", fallback=str(smaller))
        os.kill(os.getpid(), signal.SIGHUP)
        until(lambda: seen.log.has("another model"))
        processed = seen.report.cameras["a"].processed
        until(lambda: seen.report.cameras["a"].processed > processed + 3)
        now[0] = Readings()
        until(lambda: seen.log.has("from now on every frame"))
        processed = seen.report.cameras["a"].processed
        until(lambda: seen.report.cameras["a"].processed > processed + 3)
        assert seen.report.exchanges >= before + 2

    report, _ = service(described, script, degrade="engine", fallback=str(smaller))
    assert report.cameras["a"].error == ""
    assert report.cameras["a"].ledger["relief"] > 0


def test_a_lower_score_makes_another_detector(service):
    def script(running):
        until(lambda: running.processed("a") >= 3)
        running.reload({"a": synthetic(1), "b": synthetic(2, min_score=0.01)})
        until(lambda: running.processed("b") >= 3)

    report, _ = service({"a": synthetic(1)}, script)
    assert report.exchanges == 1
    assert report.cameras["b"].detections > report.cameras["a"].detections
    assert set(report.cameras["a"].ledger) <= {"left"}


class Stalling(Ticking):
    """Gives no frame from its fifth on, until it is stopped."""

    def read(self) -> Frame | None:
        if self._index == 5:
            self._stopping.wait(SECONDS)
        return super().read()


def test_health_turns_red_when_frames_stop(service, sources):
    sources["first"], sources["second"] = lambda: Stalling(10000, 0.02), lambda: Ticking(10000, 0.02)

    def script(running):
        until(lambda: running.health()[0] == 503)
        told = running.health()[1]
        assert told["cameras"]["b"]["healthy"]
        assert "no result for " in told["cameras"]["a"]["reason"]
        assert "ssd_edge_healthy 0\n" in running.metrics()

    service({"a": {"source": "first"}, "b": {"source": "second"}}, script, unhealthy_after="1s")


def test_a_camera_that_fails_is_opened_again_even_if_it_is_the_only_one(service, sources):
    opened = []

    def source():
        opened.append(1)
        if len(opened) in (2, 3):
            raise SourceError("it is not there")
        return Unplugged(5 if len(opened) == 1 else 10000, 0.02)

    sources["it"] = source

    def script(running):
        until(lambda: len(opened) == 4 and running.processed("a") >= 3)

    _, log = service({"a": {"source": "it"}}, script)
    assert [message for name, message in log.lines if name == "a" and "trying again" in message] == [
        "it was unplugged; trying again in 0 s",
        "it is not there; trying again in 0 s",
    ]
    assert log.has("opened again")


def test_a_camera_that_is_not_there_is_waited_for_if_that_is_wanted(service, sources):
    there = threading.Event()

    def source():
        if not there.is_set():
            raise SourceError("it is not there")
        return Ticking(10000, 0.02)

    sources["it"], sources["other"] = source, lambda: Ticking(10000, 0.02)
    described = {"a": {"source": "it"}, "b": {"source": "other"}}

    def script(running):
        until(lambda: running.processed("b") >= 3)
        status, told = running.health()
        assert (status, told["cameras"]["a"]["reason"]) == (503, "it is not there")
        assert "ssd_edge_waiting_cameras 1\n" in running.metrics()
        there.set()
        until(lambda: running.processed("a") >= 3)
        until(lambda: running.health()[0] == 200)

    service(described, script, wait=True)
    there.clear()
    with pytest.raises(SourceError, match="it is not there"):
        service(described, script)


def test_an_output_that_is_not_there_delays_no_camera_if_that_is_wanted(service):
    described = {"a": synthetic(1, outputs={"webhook": {"to": f"http://127.0.0.1:{free_port()}/", "rate": 1}})}

    def script(running):
        until(lambda: running.processed("a") >= 3)
        assert 'ssd_edge_output_up{camera="a",output="webhook"} 0\n' in running.metrics()

    service(described, script, wait=True)
    with pytest.raises(ServiceError, match="a, output webhook: nobody answers at http://127"):
        service(described, script)


def test_recordings_that_end_end_the_service(service, sources):
    sources["it"] = lambda: Ticking(5, 0.02)
    report, _ = service({"a": {"source": "it", "buffer": "drop-oldest:9"}}, lambda running: None)
    assert report.cameras["a"].processed == 5


def test_what_systemd_hears(service, tmp_path, monkeypatch):
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(SECONDS)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")

        def heard(words):
            while words not in manager.recv(4096).decode():
                pass

        def script(running):
            heard("READY=1")
            heard("WATCHDOG=1")
            running.reload()
            heard("RELOADING=1")
            heard("READY=1")

        service({"a": synthetic(1)}, script)
        heard("STOPPING=1")


def test_a_loop_that_is_stuck_gives_no_sign_of_life(service, sources, tmp_path, monkeypatch):
    monkeypatch.setattr(health, "STUCK_AFTER", 0.5)
    hold, free = threading.Event(), threading.Event()
    monkeypatch.setattr("ssd_edge.loop.camera.OpenCamera.look", lambda camera: hold.is_set() and free.wait(SECONDS))
    sources["it"] = lambda: Ticking(10000, 0.02)
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "100000")

        def heard():
            said = []
            with suppress(BlockingIOError):
                while True:
                    said.append(manager.recv(4096).decode())
            return said

        def script(running):
            try:
                until(lambda: "WATCHDOG=1" in heard())
                hold.set()
                until(lambda: not running.health()[1]["loop"]["healthy"])
                sleep(0.5)
                heard()
                sleep(0.5)
                assert heard() == []
                assert running.health()[0] == 503
            finally:
                free.set()

        service({"a": {"source": "it"}}, script, unhealthy_after="500ms")
