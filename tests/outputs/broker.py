"""A real MQTT broker on loopback, mosquitto, and a client that keeps what it hears."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason="no MQTT broker: sudo apt install mosquitto")
PATIENCE = 30.0
"""Seconds after which a test gives up."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for(what: Callable[[], bool]) -> None:
    """Wait until something is so."""
    until, pause = monotonic() + PATIENCE, threading.Event()
    while not what():
        assert monotonic() < until, "it did not happen in time"
        pause.wait(0.02)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class Broker:
    """mosquitto on a port of loopback, which can be killed and started again; it keeps nothing on the disk."""

    def __init__(self, folder: Path, settings: str = "allow_anonymous true") -> None:
        self.port = free_port()
        self._config = folder / f"mosquitto-{self.port}.conf"
        # mosquitto started by root becomes the user mosquitto, who cannot read the test's folder.
        self._config.write_text(f"user root\nlistener {self.port} 127.0.0.1\npersistence false\n{settings}\n")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def address(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        assert MOSQUITTO is not None
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(lambda: answers(self.port))

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def running(folder: Path, settings: str = "allow_anonymous true") -> Iterator[Broker]:
    broker = Broker(folder, settings)
    try:
        yield broker
    finally:
        broker.kill()


class Listener:
    """Client that keeps the messages of all topics: (topic, payload, retained)."""

    def __init__(self, port: int) -> None:
        self.messages: list[tuple[str, str, bool]] = []
        subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda client, data, message: self.messages.append(
            (message.topic, message.payload.decode(), message.retain)
        )
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("#", qos=1)
        self._client.loop_start()
        assert subscribed.wait(PATIENCE)

    def of(self, topic: str) -> list[str]:
        return [payload for name, payload, _ in list(self.messages) if name == topic]

    def last(self, topic: str) -> Any:
        """Wait for a message on this topic, and return the last as JSON, or as text if it is none."""
        wait_for(lambda: bool(self.of(topic)))
        text = self.of(topic)[-1]
        return json.loads(text) if text.startswith("{") else text

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *exception: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def certificates(folder: Path) -> Path:
    """Make an authority and a server's certificate for 127.0.0.1; return the authority's."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    usage = ["-addext", "keyUsage=critical,keyCertSign"]
    signer = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
    for command in (
        ["req", "-x509", *key, "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.pem", *usage],
        ["req", *key[:-2], "-subj", "/CN=127.0.0.1", "-keyout", "server.key", "-out", "server.csr"],
        ["x509", "-req", "-in", "server.csr", *signer, "-days", "2", "-extfile", "names", "-out", "server.pem"],
    ):
        (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
        subprocess.run([openssl, *command], cwd=folder, check=True, capture_output=True)
    return folder / "ca.pem"
