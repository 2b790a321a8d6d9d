"""Entities of Home Assistant for a camera's counts, by its MQTT discovery.

Each is one retained message at ``homeassistant/COMPONENT/NODE/OBJECT/config``
(home-assistant.io/integrations/mqtt, "Discovery messages", for a single component), which every release of it reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ssd_edge import __version__
from ssd_edge.outputs.mqtt_topics import Topics, identifier
from ssd_edge.tracking.plan import Line, Zone

MOST_CLASSES = 16
"""Number of classes up to which each has a sensor at once; those of a larger model are to be enabled by hand."""


@dataclass(frozen=True)
class Entity:
    """An entity that Home Assistant is to make.

    Attributes:
        topic: where its message goes.
        config: the message.
    """

    topic: str
    config: dict[str, Any]


@dataclass(frozen=True)
class Discovery:
    """Makes the entities of one camera.

    Attributes:
        topics: where its values are.
        prefix: Home Assistant's own prefix.
    """

    topics: Topics
    prefix: str = "homeassistant"

    def classes(self, labels: Sequence[str]) -> Iterator[Entity]:
        """Make a sensor for each class: the number of its objects that are seen now."""
        for label in labels:
            config: dict[str, Any] = {
                "state_topic": self.topics.objects,
                "value_template": f"{{{{ value_json[{json.dumps(label, ensure_ascii=False)}] }}}}",
                "state_class": "measurement",
                "icon": "mdi:shape-outline",
            }
            if len(labels) > MOST_CLASSES:
                config["enabled_by_default"] = False
            yield self._entity("sensor", ("objects", label), label, config)

    def places(self, places: Sequence[Zone | Line]) -> Iterator[Entity]:
        """Make sensors for what is counted in zones and over lines, and for whether a zone is occupied."""
        for place in places:
            for kind in _kinds(place):
                yield self._count(place.name, kind)
            if isinstance(place, Zone):
                config = {
                    "state_topic": self.topics.counts(place.name),
                    "value_template": "{{ 'ON' if value_json['inside']['total'] > 0 else 'OFF' }}",
                    "device_class": "occupancy",
                }
                yield self._entity("binary_sensor", ("zone", place.name), place.name, config)

    def _count(self, place: str, kind: str) -> Entity:
        config = {
            "state_topic": self.topics.counts(place),
            "value_template": f"{{{{ value_json['{kind}']['total'] }}}}",
            "state_class": "measurement" if kind == "inside" else "total_increasing",
            "icon": "mdi:counter",
        }
        return self._entity("sensor", ("counts", place, kind), f"{place} {kind}", config)

    def _entity(self, component: str, what: Sequence[str], name: str, config: dict[str, Any]) -> Entity:
        device, which = identifier(self.topics.device), f"{identifier(self.topics.camera)}_{identifier(*what)}"
        common = {
            "name": f"{self.topics.camera} {name}",
            "unique_id": f"ssd-edge_{device}_{which}",
            "availability": [{"topic": self.topics.device_availability}, {"topic": self.topics.availability}],
            "availability_mode": "all",
            "device": {
                "identifiers": [f"ssd-edge_{device}"],
                "name": self.topics.device,
                "manufacturer": "ssd-edge",
                "model": "object detector",
                "sw_version": __version__,
            },
            "origin": {"name": "ssd-edge", "sw_version": __version__},
        }
        return Entity(f"{self.prefix}/{component}/ssd-edge_{device}/{which}/config", {**common, **config})


def _kinds(place: Zone | Line) -> tuple[str, ...]:
    """Name what ``tracking.places`` counts there."""
    if isinstance(place, Line):
        return "to left", "to right"
    return "inside", "entered", "left", *(("dwelt",) if place.min_time is not None else ())
