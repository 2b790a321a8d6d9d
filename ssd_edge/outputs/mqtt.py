"""Tell an MQTT broker what is seen: detections, events, counts, and entities of Home Assistant."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

from ssd_edge.detections import Detections
from ssd_edge.errors import SinkError
from ssd_edge.outputs.endpoint import Endpoint, parse_endpoint
from ssd_edge.outputs.home_assistant import Discovery, Entity
from ssd_edge.outputs.mqtt_connection import MqttConnection
from ssd_edge.outputs.mqtt_topics import Topics
from ssd_edge.outputs.news import News
from ssd_edge.outputs.plain import plain, plain_late, time_of
from ssd_edge.outputs.sharing import Shared
from ssd_edge.outputs.sink import Sink
from ssd_edge.stream.frames import Frame
from ssd_edge.tracking.plan import Line, Zone
from ssd_edge.tracking.watch import Watched

PORTS = {"mqtt": 1883, "mqtts": 8883}
_QUIET = 10.0  # seconds without a frame after which a camera is told to be offline
_CONNECTIONS: Shared[MqttConnection] = Shared()


@dataclass(frozen=True)
class MqttSettings:
    """What is told, and where.

    Attributes:
        address: ``mqtt://user:password@host:1883/prefix``, or ``mqtts://`` for TLS. Without a prefix it is ssd-edge; a
            user and password that it lacks come from SSD_EDGE_MQTT_USER and SSD_EDGE_MQTT_PASSWORD.
        device: this device's name, which no other one at the broker may have; the host's name by default.
        rate: most messages a second of what is detected in a frame; 0 for none.
        on_change: whether these come only when another number of objects of a class, or other ids, are seen.
        discovery: Home Assistant's prefix for discovery; "" for none.
    """

    address: str
    device: str = ""
    rate: float = 1.0
    on_change: bool = True
    discovery: str = "homeassistant"


def _place(address: str) -> tuple[Endpoint, str]:
    """Return the broker and the topics' prefix."""
    endpoint = parse_endpoint(address, PORTS, "SSD_EDGE_MQTT", "mqtt://USER:PASSWORD@HOST:1883/PREFIX")
    prefix = endpoint.path.strip("/") or "ssd-edge"
    if set(prefix) & set("+#?"):
        raise SinkError(f"an MQTT prefix has no +, # or ?, but got {prefix!r}")
    return replace(endpoint, path=""), prefix


class Mqtt(Sink):
    """Sink that publishes; docs/outputs.md lists the topics. Cameras with one broker and device share a connection.

    Args:
        settings: what is told, and where.
        labels: class names, as in the model's spec.
        camera: the camera's name.

    Raises:
        SinkError: the address is wrong, or the broker cannot be reached or refuses.
    """

    tells_events = True

    def __init__(self, settings: MqttSettings, labels: Sequence[str], camera: str = "camera") -> None:
        endpoint, prefix = _place(settings.address)
        self._settings, self._labels = settings, labels
        self._topics = Topics(prefix, settings.device or socket.gethostname(), camera)
        self._discovery = Discovery(self._topics, settings.discovery)
        self._news = News(settings.rate, settings.on_change)
        self._told: Mapping[int, int] | None = None
        self._places: tuple[Zone | Line, ...] = ()
        self._counts: dict[str, Any] = {}
        self._came = float("-inf")
        self._online: bool | None = None
        will = self._topics.device_availability
        self._connection: MqttConnection | None = _CONNECTIONS.take(
            (endpoint, will), lambda: MqttConnection(endpoint, will)
        )
        self._say_online(False)
        if settings.discovery:
            self._discover(self._discovery.classes(labels))

    @classmethod
    def opened(
        cls, target: str, labels: Sequence[str], fps: float | None, *, camera: str = "camera", **settings: Any
    ) -> Mqtt:
        """See ``catalogue.open_sink``; the settings are those of ``MqttSettings``."""
        return cls(MqttSettings(target, **settings), labels, camera)

    @classmethod
    def check(cls, target: str) -> None:
        """See ``Sink``."""
        _place(target)

    def write(self, frame: Frame, detections: Detections) -> None:
        """Publish what is new in a frame."""
        self._open.check()
        self._came = monotonic()
        self._say_online(True)
        numbers = Counter(detections.labels.tolist())
        if numbers != self._told:
            self._publish(self._topics.objects, {name: numbers[i] for i, name in enumerate(self._labels)}, retain=True)
            self._told = numbers
        if isinstance(detections, Watched):
            self._tell_places(detections)
            for late in detections.late:
                self._publish(self._topics.events, plain_late(late, self._labels))
            for event in detections.events:
                self._publish(self._topics.events, {"captured": time_of(frame), **event.to_json(self._labels)})
        if self._news.passes(detections):
            message = {"captured": time_of(frame), **plain(frame, detections, self._labels)}
            self._publish(self._topics.detections, message, qos=0)  # at most once: the next one replaces it

    def idle(self) -> None:
        """Notice a lost connection, and tell that the camera gives no frames."""
        self._open.check()
        if monotonic() - self._came > _QUIET:
            self._say_online(False)

    def close(self) -> None:
        """Tell that the camera is offline; after the last camera, the device too."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SinkError):  # what is broken needs no farewell: the last will says it
                connection.publish(self._topics.availability, "offline", qos=1, retain=True)
            _CONNECTIONS.give_back(connection)

    @property
    def _open(self) -> MqttConnection:
        if self._connection is None:
            raise ValueError("this sink is closed")
        return self._connection

    def _publish(self, topic: str, payload: str | dict[str, Any], *, qos: int = 1, retain: bool = False) -> None:
        self._open.publish(topic, payload, qos=qos, retain=retain)

    def _say_online(self, online: bool) -> None:
        if self._online is not online:
            self._publish(self._topics.availability, "online" if online else "offline", retain=True)
            self._online = online

    def _discover(self, entities: Iterable[Entity]) -> None:
        for entity in entities:
            self._publish(entity.topic, entity.config, retain=True)

    def _tell_places(self, watched: Watched) -> None:
        if watched.places != self._places:
            self._places = watched.places
            if self._settings.discovery:
                self._discover(self._discovery.places(watched.places))
        for place, kinds in watched.counts.items():
            if self._counts.get(place) != kinds:
                message = {kind: {"total": sum(by.values()), "classes": by} for kind, by in kinds.items()}
                self._publish(self._topics.counts(place), message, retain=True)
                self._counts[place] = kinds
