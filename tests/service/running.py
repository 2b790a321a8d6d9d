"""A service in this process, as scripts in another thread see it."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from time import monotonic, sleep

from ssd_edge.errors import SourceError
from ssd_edge.service.log import Log
from ssd_edge.stream.frames import Frame
from tests.cameras import Ticking

SECONDS = 60  # after which a test has failed, however slow the machine is


class Kept(Log):
    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def line(self, message, event, level="info", camera=None):
        self.lines.append((event if camera is None else camera, message))

    def has(self, words):
        return any(words in message for _, message in self.lines)


def until(holds: Callable[[], object]) -> None:
    deadline = monotonic() + SECONDS
    while not holds():
        assert monotonic() < deadline, "it never came"
        sleep(0.02)


def free_port():
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Running:
    """What a script sees of a service."""

    def __init__(self, write, port, log):
        self.write, self.port, self.log = write, port, log
        self.report = None

    def begin(self, thread, report):
        if self.report is None:
            thread.start()
        self.report = report

    def health(self):
        connection = HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    def metrics(self):
        connection = HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()

    def page_address(self):
        (told,) = (message for _, message in self.log.lines if message.startswith("page: http://"))
        return told.removeprefix("page: http://").rstrip("/")

    def page(self, method, path, value=None, **headers):
        """Ask the live page; returns status and answer."""
        connection = HTTPConnection(self.page_address(), timeout=SECONDS)
        body = None if value is None else json.dumps(value)
        connection.request(method, path, body, {"Content-Type": "application/json", **headers})
        with closing(connection):
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def shown(self):
        """The cameras on the page, by name."""
        return {camera["name"]: camera for camera in self.page("GET", "/api/state")[1]["cameras"]}

    def _told(self, event):
        """What the page tells next of a kind, by camera."""
        connection = HTTPConnection(self.page_address(), timeout=SECONDS)
        connection.request("GET", "/api/events")
        with closing(connection):
            lines = iter(connection.getresponse().readline, b"")
            told = next(next(lines) for line in lines if line == f"event: {event}\n".encode())
        return json.loads(told.removeprefix(b"data: "))

    def condition(self, name):
        """How a camera is, as the page tells it."""
        return self._told("status").get(name, {}).get("condition")

    def number(self, name):
        """The number of a camera's newest frame on the page."""
        return self._told("boxes").get(name, {}).get("frame", 0)

    def processed(self, name):
        return self.health()[1]["cameras"].get(name, {}).get("processed", 0)

    def reload(self, described=None, **settings):
        if described is not None:
            self.write(described, **settings)
        before = len(self.log.lines)
        os.kill(os.getpid(), signal.SIGHUP)
        until(lambda: any(event == "config" for event, _ in self.log.lines[before:]))


def synthetic(seed, **more):
    """A camera that loses no frame, however busy the machine is."""
    return {"source": f"synthetic:{seed}", "size": "96x72", "fps": 20, "buffer": "drop-oldest:1000", **more}


def indices(folder, name):
    lines = [line for path in sorted(folder.glob(f"{name}-*.jsonl")) for line in path.read_text().splitlines()]
    return [json.loads(line)["index"] for line in lines]


class Unplugged(Ticking):
    """Fails after its last frame."""

    def read(self) -> Frame | None:
        frame = super().read()
        if frame is None and not self._stopping.is_set():
            raise SourceError("it was unplugged")
        return frame
