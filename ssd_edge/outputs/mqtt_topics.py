"""Names of MQTT topics, and ids that stay the same over restarts."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f/+#$%]")


def level(name: str) -> str:
    """Make one level of a topic of any name; what MQTT gives a meaning to is percent-encoded, so no two are equal."""
    return _FORBIDDEN.sub(lambda found: f"%{ord(found[0]):02X}", name) or "%"


def identifier(*names: str) -> str:
    """Make an id of letters, digits and ``-`` of any names; names that differ have ids that differ."""
    whole = "\0".join(names)
    readable = re.sub(r"[^A-Za-z0-9-]+", "-", whole)
    return readable if readable == whole and whole else f"{readable}-{hashlib.sha256(whole.encode()).hexdigest()[:6]}"


@dataclass(frozen=True)
class Topics:
    """Topics of one camera of one device.

    Attributes:
        prefix: first levels, such as ``ssd-edge``.
        device, camera: names for people.
    """

    prefix: str
    device: str
    camera: str

    @property
    def device_availability(self) -> str:
        """``online`` or ``offline``, retained: the connection's last will."""
        return f"{self._device}/availability"

    @property
    def availability(self) -> str:
        """``online`` while the camera's frames come, else ``offline``; retained."""
        return f"{self._camera}/availability"

    @property
    def detections(self) -> str:
        """What is detected in a frame."""
        return f"{self._camera}/detections"

    @property
    def objects(self) -> str:
        """Number of objects seen now, by class; retained."""
        return f"{self._camera}/objects"

    @property
    def events(self) -> str:
        """One event a message."""
        return f"{self._camera}/events"

    def counts(self, place: str) -> str:
        """Return the topic of what has been counted in a zone or over a line; retained."""
        return f"{self._camera}/counts/{level(place)}"

    @property
    def _device(self) -> str:
        return f"{self.prefix}/{level(self.device)}"

    @property
    def _camera(self) -> str:
        return f"{self._device}/{level(self.camera)}"
