"""Find out whether a window can be shown."""

from __future__ import annotations

from collections.abc import Mapping

from ssd_edge.machine.finding import Finding
from ssd_edge.machine.host import Host


def probe(host: Host) -> list[Finding]:
    """See ``examine.PROBES``."""
    if host.system != "Linux":
        return [Finding("display", "the system's own")]
    folder = "/sys/class/drm"
    monitors = [
        connector.partition("-")[2]
        for connector in host.names(folder, "card*-*")
        if host.read(f"{folder}/{connector}/status") == "connected"
    ]
    session = session_of(host.environment)
    connected = f"; connected: {', '.join(monitors)}" if monitors else ""
    facts = {"session": session, "monitors": monitors}
    if session:
        return [Finding("display", f"{session}{connected}", facts=facts)]
    value = f"none in this session{connected}"
    return [Finding("display", f"{value}; ssd-edge run needs --save-video or --save-json then", facts=facts)]


def session_of(environment: Mapping[str, str]) -> str:
    """Return the X or Wayland display that a Linux program would use; empty if there is none."""
    return environment.get("WAYLAND_DISPLAY") or environment.get("DISPLAY") or ""
