"""What systemd would hear: a socket of the test's own in its place."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from time import monotonic_ns

import pytest

from ssd_edge.service.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    """A manager's socket, and the address that it tells its services."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@ssd-edge-{os.getpid()}-{tmp_path.name}"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as receiver:
        receiver.bind(name.replace("@", "\0", 1) if request.param == "abstract" else name)
        receiver.settimeout(5)
        yield receiver, {"NOTIFY_SOCKET": name}


def test_the_manager_hears_each_state(manager):
    receiver, environment = manager
    notifier = Notifier(environment)
    before = monotonic_ns() // 1000
    notifier.ready("two\ncameras")
    notifier.reloading()
    notifier.alive()
    notifier.status("4 FPS")
    notifier.stopping()
    said = [receiver.recv(1000).decode() for _ in range(5)]
    time = int(said[1].partition("MONOTONIC_USEC=")[2])
    assert before <= time <= monotonic_ns() // 1000
    assert said == [
        "READY=1\nSTATUS=two cameras",
        f"RELOADING=1\nMONOTONIC_USEC={time}",
        "WATCHDOG=1",
        "STATUS=4 FPS",
        "STOPPING=1",
    ]


def test_without_a_manager_nothing_is_sent():
    Notifier({}).ready()


def test_a_manager_that_went_away_ends_nothing(tmp_path):
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).alive()


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_signs_of_life_come_twice_as_often_as_they_are_expected(variables, seconds):
    assert Notifier(variables).watchdog_every == seconds
