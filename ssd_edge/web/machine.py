"""The machine's heat and power, as the page shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssd_edge.machine.readings import Readings, readings


def machine_now() -> Mapping[str, Any]:
    """Read the machine; see ``machine_at``."""
    return machine_at(readings())


def machine_at(now: Readings) -> Mapping[str, Any]:
    """Return what the page shows: ``celsius`` of the hottest sensor, ``watts``, the ``limits`` that slow it down."""
    return {
        "celsius": now.hottest[1] if now.hottest else None,
        "watts": now.watts,
        "limits": [str(limit) for limit in now.troubles],
    }
