"""Webhooks with a web server on loopback that takes messages, refuses them, is slow, hangs up, and sends elsewhere."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import cv2
import numpy as np
import pytest

from ssd_edge.errors import SinkError
from ssd_edge.outputs import http_post
from ssd_edge.outputs.carried import Carried
from ssd_edge.outputs.catalogue import open_sink
from ssd_edge.outputs.webhook import Webhook, WebhookSettings
from ssd_edge.tracking.events import Event
from tests.helpers import ROOT
from tests.outputs.broker import certificates, free_port
from tests.outputs.seen import LABELS, detections, frame, watched

EVENT = Event("crossed", "gate 1", 7, 1, 2.5, to="left")
HAPPENED = watched(0, 1, ids=(7, 9), events=(EVENT,))
Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class Receiver:
    """Web server; ``answers`` says how the next messages are answered, the last for all that follow."""

    def __init__(self, *answers: int | Answer) -> None:
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        receiver, left = self, [*answers]

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.headers.append(dict(self.headers))
                receiver.paths.append(self.path)
                answer = left.pop(0) if len(left) > 1 else left[0]
                if callable(answer):
                    answer(self)
                else:
                    self.send_response(answer)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hung up
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/hook/t0ken?key=s3cret"

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()

    def messages(self) -> list[dict[str, object]]:
        return [json.loads(body) for body in self.bodies]


@pytest.fixture
def receive() -> Iterator[Callable[..., Receiver]]:
    with ExitStack() as stack:

        def make(*answers: int | Answer) -> Receiver:
            receiver = Receiver(*answers)
            stack.callback(receiver.close)
            return receiver

        yield make


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait little before a further attempt, and know no secrets."""
    monkeypatch.setattr(http_post, "_PAUSES", (0.01, 0.02))
    for name in ("SECRET", "TOKEN", "USER", "PASSWORD"):
        monkeypatch.delenv(f"SSD_EDGE_WEBHOOK_{name}", raising=False)


def opened(receiver: Receiver, **settings: object) -> Webhook:
    return Webhook(WebhookSettings(receiver.address, "line3", **settings), LABELS, "cam")  # type: ignore[arg-type]


def refused(receiver: Receiver, **settings: object) -> str:
    """Return the sentence of a message that is not taken."""
    with opened(receiver, **settings) as sink, pytest.raises(SinkError) as caught:
        sink.write(frame(), HAPPENED)
    sentence = str(caught.value)
    assert "t0ken" not in sentence
    assert "s3cret" not in sentence
    return sentence


def test_an_event(receive: Callable[..., Receiver]) -> None:
    receiver = receive(200)
    with opened(receiver) as sink:
        sink.write(frame(0), watched(0))
        sink.write(frame(1), detections(0))
        sink.write(frame(2), HAPPENED)
        sink.write(frame(3), detections())
        sink.idle()
    (message,) = receiver.messages()
    assert message["events"] == [EVENT.to_json(LABELS)]
    assert (message["device"], message["camera"], message["index"]) == ("line3", "cam", 2)
    assert [each["label"] for each in message["detections"]] == list(LABELS)  # type: ignore[attr-defined]
    assert "jpeg" not in message
    assert str(message["captured"]).endswith("Z")
    assert receiver.paths == ["/hook/t0ken?key=s3cret"]
    headers = receiver.headers[0]
    assert headers["Idempotency-Key"] == message["id"]
    assert headers["Content-Type"] == "application/json"
    assert "X-SsdEdge-Signature" not in headers
    assert "Authorization" not in headers


def test_an_event_of_a_frame_that_is_lacking(receive: Callable[..., Receiver]) -> None:
    receiver, carried = receive(200), Carried()
    carried.keep(frame(2), HAPPENED)
    with opened(receiver) as sink:
        sink.write(frame(30), carried.hand_on(watched(0)))
        sink.write(frame(31), watched(0))
    (message,) = receiver.messages()
    ((late,), events) = message["late_events"], message["events"]
    assert events == []
    assert (message["index"], late["index"], late["time"]) == (30, 2, 0.08)
    assert late.items() >= EVENT.to_json(LABELS).items()


def test_a_signature(receive: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSD_EDGE_WEBHOOK_SECRET", "schlüssel")
    monkeypatch.setenv("SSD_EDGE_WEBHOOK_TOKEN", "b3arer\n")
    receiver = receive(204)
    with opened(receiver) as sink:
        sink.write(frame(), HAPPENED)
    right = "sha256=" + hmac.new("schlüssel".encode(), receiver.bodies[0], hashlib.sha256).hexdigest()
    assert receiver.headers[0]["X-SsdEdge-Signature"] == right
    assert receiver.headers[0]["Authorization"] == "Bearer b3arer"


def test_the_receiver_in_the_docs(receive: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch) -> None:
    (program,) = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "docs" / "outputs.md").read_text(), re.DOTALL | re.MULTILINE
    )
    names: dict[str, Any] = {}
    exec(program, names)
    monkeypatch.setenv("SSD_EDGE_WEBHOOK_SECRET", "schlüssel")
    receiver = receive(200)
    with opened(receiver) as sink:
        sink.write(frame(), HAPPENED)
    body, headers = receiver.bodies[0], receiver.headers[0]
    assert names["read"](body, headers, "schlüssel") == receiver.messages()[0]
    for wrong in ((body, headers, "other"), (body + b" ", headers, "schlüssel"), (body, {}, "schlüssel")):
        with pytest.raises(ValueError, match="wrong signature"):
            names["read"](*wrong)


def test_user_and_password(receive: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = receive(200)
    place = receiver.address.removeprefix("http://")
    with open_sink("webhook", f"http://me:p%40ss@{place}", LABELS, None, camera="a") as sink:
        sink.write(frame(), HAPPENED)
    monkeypatch.setenv("SSD_EDGE_WEBHOOK_USER", "me")
    monkeypatch.setenv("SSD_EDGE_WEBHOOK_PASSWORD", "p@ss")
    with open_sink("webhook", f"http://{place}", LABELS, None) as sink:
        sink.write(frame(), HAPPENED)
    pair = base64.b64encode(b"me:p@ss").decode()
    assert [headers["Authorization"] for headers in receiver.headers] == [f"Basic {pair}"] * 2


def test_frames_without_events(receive: Callable[..., Receiver]) -> None:
    receiver = receive(200)
    with opened(receiver, rate=1e9) as sink:
        for index, labels in enumerate([(0,), (0,), (0, 1), (0, 1), (), ()]):
            sink.write(frame(index), detections(*labels))
    assert [message["index"] for message in receiver.messages()] == [0, 2, 4]
    with opened(receiver, rate=0.001, on_change=False) as sink:
        for index in range(5, 9):
            sink.write(frame(index), detections(0))
        sink.write(frame(9), HAPPENED)
    assert [message["index"] for message in receiver.messages()][3:] == [5, 9], "an event waits for no rate"


def test_a_picture(receive: Callable[..., Receiver]) -> None:
    receiver = receive(200)
    with opened(receiver, picture=True) as sink:
        sink.write(frame(size=(120, 160)), HAPPENED)
    data = base64.b64decode(str(receiver.messages()[0]["jpeg"]))
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (120, 160, 3)
    assert np.abs(picture.astype(int) - 90).max() > 60, "boxes are drawn"


def test_what_happens_in_a_frame_too_large_for_a_picture_is_told_without_one(receive: Callable[..., Receiver]) -> None:
    receiver = receive(200)
    with opened(receiver, picture=True) as sink:
        sink.write(frame(size=(1, 65_501)), HAPPENED)
    (message,) = receiver.messages()
    assert (message["jpeg"], message["index"]) == (None, 0)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_server_gets_it_again_with_the_same_id(receive: Callable[..., Receiver], status: int) -> None:
    receiver = receive(status, status, 200)
    with opened(receiver) as sink:
        sink.write(frame(), HAPPENED)
    assert len(receiver.bodies) == 3
    assert len(set(receiver.bodies)) == 1
    assert len({headers["Idempotency-Key"] for headers in receiver.headers}) == 1


def test_a_server_that_stays_busy(receive: Callable[..., Receiver]) -> None:
    receiver = receive(503)
    assert "is busy: it answers 503 Service Unavailable" in refused(receiver)
    assert len(receiver.bodies) == 3


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (400, "refuses the message: it answers 400 Bad Request"),
        (401, "401 Unauthorized; set SSD_EDGE_WEBHOOK_TOKEN"),
        (404, "404 Not Found; check the path"),
        (500, "500 Internal Server Error"),
        (599, "it answers 599"),
        (301, "301 Moved Permanently, which points to another address"),
    ],
)
def test_a_refusal_is_not_repeated(receive: Callable[..., Receiver], status: int, sentence: str) -> None:
    receiver = receive(status)
    assert sentence in refused(receiver)
    assert len(receiver.bodies) == 1


def test_a_redirect_is_not_followed(receive: Callable[..., Receiver]) -> None:
    other = receive(200)

    def elsewhere(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(307)
        handler.send_header("Location", other.address)
        handler.end_headers()

    assert "307 Temporary Redirect, which points to another address: give that one" in refused(receive(elsewhere))
    assert other.bodies == []


def reset(handler: http.server.BaseHTTPRequestHandler) -> None:
    """End a connection by RST."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def test_a_server_that_resets(receive: Callable[..., Receiver]) -> None:
    once = receive(reset, 200)
    with opened(once) as sink:
        sink.write(frame(), HAPPENED)
    assert once.bodies[0] == once.bodies[1]
    assert "does not answer: " in refused(receive(reset))


@pytest.mark.slow
def test_a_slow_server(receive: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not asked again: it may have taken the message."""
    monkeypatch.setattr(http_post, "TIMEOUT", 1.0)
    ended = threading.Event()
    receiver = receive(lambda handler: ended.wait(60))
    began = monotonic()
    try:
        assert "does not answer within 1 s" in refused(receiver)
        assert monotonic() - began < 20
    finally:
        ended.set()
    assert len(receiver.bodies) == 1


@pytest.mark.slow
def test_a_server_that_dribbles(receive: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time, the answer does not."""
    monkeypatch.setattr(http_post, "TIMEOUT", 1.0)
    ended = threading.Event()

    def dribble(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not ended.wait(0.1):
            handler.wfile.write(b"x")

    receiver = receive(dribble)
    began = monotonic()
    try:
        assert "does not answer within 1 s" in refused(receiver)
        assert monotonic() - began < 20
    finally:
        ended.set()


def test_no_http(receive: Callable[..., Receiver]) -> None:
    assert "this is no HTTP" in refused(receive(lambda handler: handler.wfile.write(b"220 smtp ready\r\n")))  # type: ignore[arg-type, return-value]


def test_nobody_is_there() -> None:
    with pytest.raises(SinkError, match=r"http://127.0.0.1:\d+ does not answer: Connection refused") as caught:
        Webhook(WebhookSettings(f"http://127.0.0.1:{free_port()}/t0ken"), LABELS)
    assert "t0ken" not in str(caught.value)
    with pytest.raises(SinkError, match=r"no-such-host.invalid:443 cannot be reached"):
        Webhook(WebhookSettings("https://no-such-host.invalid"), LABELS)
    with pytest.raises(SinkError, match="its host name is none"):
        Webhook(WebhookSettings(f"https://{'a' * 64}.example"), LABELS)


@pytest.mark.slow
def test_tls_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = certificates(tmp_path)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with secured(tmp_path) as receiver:
        address = receiver.address.replace("http:", "https:")
        with pytest.raises(SinkError, match=r"does not trust the certificate of https://127.0.0.1:\d+ .*SSL_CERT_FILE"):
            Webhook(WebhookSettings(address), LABELS)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        with Webhook(WebhookSettings(address), LABELS) as sink:
            sink.write(frame(), HAPPENED)
        assert len(receiver.bodies) == 1


@contextmanager
def secured(folder: Path) -> Iterator[Receiver]:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    receiver = Receiver(200)
    plain = receiver.server.get_request

    def get_request() -> tuple[socket.socket, object]:
        connection, address = plain()
        return context.wrap_socket(connection, server_side=True), address

    receiver.server.get_request = get_request  # type: ignore[method-assign, assignment]
    try:
        yield receiver
    finally:
        receiver.close()


@pytest.mark.parametrize("address", ["", "ftp://host/t0ken", "https:host/t0ken", "https:///t0ken", "https://h:x/t0ken"])
def test_a_wrong_address(address: str) -> None:
    with pytest.raises(SinkError, match="is not an address of the form https://HOST/PATH") as caught:
        Webhook(WebhookSettings(address), LABELS)
    assert "t0ken" not in str(caught.value)


def test_letters_of_a_path(receive: Callable[..., Receiver]) -> None:
    receiver = receive(200)
    address = receiver.address.replace("/hook", "/hööк%20x")
    with Webhook(WebhookSettings(address), LABELS) as sink:
        sink.write(frame(), HAPPENED)
    assert receiver.paths[0].startswith("/h%C3%B6%C3%B6%D0%BA%20x/t0ken?key=")
