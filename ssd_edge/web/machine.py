"""The machine's heat and power, as the page shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssd_edge.machine.readings import readings


def machine_now() -> Mapping[str, Any]:
    """Read the machine: ``celsius`` of its hottest sensor, ``watts``, and the ``limits`` that slow it down."""
    now = readings()
    return {
        "celsius": now.hottest[1] if now.hottest else None,
        "watts": now.watts,
        "limits": [str(limit) for limit in now.troubles],
    }
