"""Tell a web server what happens, by POST of JSON."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import socket
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from ssd_edge import __version__
from ssd_edge.detections import Detections
from ssd_edge.errors import SinkError
from ssd_edge.outputs.draw import annotate
from ssd_edge.outputs.endpoint import Endpoint, parse_endpoint
from ssd_edge.outputs.http_post import HttpPost
from ssd_edge.outputs.jpeg import as_jpeg
from ssd_edge.outputs.news import News
from ssd_edge.outputs.plain import plain, time_of
from ssd_edge.outputs.sink import Sink
from ssd_edge.stream.frames import Frame
from ssd_edge.tracking.watch import Watched

PORTS = {"http": 80, "https": 443}
_QUALITY = 85  # of the JPEG
_VARIABLES = "SSD_EDGE_WEBHOOK"
_AS_IT_IS = "%/?:@!$&'()*+,;=~[]"


@dataclass(frozen=True)
class WebhookSettings:
    """What is told, and where.

    Attributes:
        address: ``https://…``; nothing of it but scheme, host and port is ever printed.
        device: this device's name; the host's name by default.
        rate: most messages a second of frames without an event; 0 for none.
        on_change: whether these come only when another number of objects of a class, or other ids, are seen.
        picture: whether each message has the annotated frame.
    """

    address: str
    device: str = ""
    rate: float = 0.0
    on_change: bool = True
    picture: bool = False


def _place(address: str) -> Endpoint:
    endpoint = parse_endpoint(address, PORTS, _VARIABLES, "https://HOST/PATH")
    # What a person pastes may hold letters that HTTP does not take.
    return replace(endpoint, path=quote(endpoint.path, safe=_AS_IT_IS))


class Webhook(Sink):
    """Sink that posts each frame with events, and if wanted others; docs/outputs.md has the form.

    The environment may hold SSD_EDGE_WEBHOOK_SECRET, with which messages are signed, and SSD_EDGE_WEBHOOK_TOKEN, a
    bearer's, or SSD_EDGE_WEBHOOK_USER and SSD_EDGE_WEBHOOK_PASSWORD.

    Args:
        settings: what is told, and where.
        labels: class names, as in the model's spec.
        camera: the camera's name.

    Raises:
        SinkError: the address is wrong, or its server cannot be reached.
    """

    heavy = True
    tells_events = True

    def __init__(self, settings: WebhookSettings, labels: Sequence[str], camera: str = "camera") -> None:
        endpoint = _place(settings.address)
        self._settings, self._labels = settings, labels
        self._from = {"device": settings.device or socket.gethostname(), "camera": camera}
        self._news = News(settings.rate, settings.on_change)
        self._secret = os.environ.get(f"{_VARIABLES}_SECRET", "").encode()
        token = os.environ.get(f"{_VARIABLES}_TOKEN", "").strip()
        self._headers = {"Content-Type": "application/json", "User-Agent": f"ssd-edge/{__version__}"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._post = HttpPost(endpoint)
        self._post.check()

    @classmethod
    def opened(
        cls, target: str, labels: Sequence[str], fps: float | None, *, camera: str = "camera", **settings: Any
    ) -> Webhook:
        """See ``catalogue.open_sink``; the settings are those of ``WebhookSettings``."""
        return cls(WebhookSettings(target, **settings), labels, camera)

    @classmethod
    def check(cls, target: str) -> None:
        """See ``Sink``."""
        _place(target)

    def write(self, frame: Frame, detections: Detections) -> None:
        """Post a frame, if there is something to tell."""
        happened = isinstance(detections, Watched) and bool(detections.events or detections.late)
        if self._news.passes(detections) or happened:
            self._send(frame, detections)

    def _send(self, frame: Frame, detections: Detections) -> None:
        number = uuid.uuid4().hex
        message = {
            "id": number,
            **self._from,
            "captured": time_of(frame),
            **plain(frame, detections, self._labels),
        }
        if self._settings.picture:
            message["jpeg"] = self._jpeg(frame, detections)
        body = json.dumps(message).encode()
        headers = {**self._headers, "Idempotency-Key": number}
        if self._secret:
            signature = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
            headers["X-SsdEdge-Signature"] = f"sha256={signature}"
        self._post.send(body, headers)

    def _jpeg(self, frame: Frame, detections: Detections) -> str | None:
        """Return the annotated frame in base64; None for one larger than JPEG allows."""
        picture = annotate(frame.image, detections, self._labels)
        try:
            return base64.b64encode(as_jpeg(picture, _QUALITY, "a picture")).decode()
        except SinkError:
            return None
