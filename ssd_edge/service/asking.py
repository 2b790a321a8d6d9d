"""Ask a running service how it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from ssd_edge.errors import SsdEdgeError
from ssd_edge.parsing import parse_json
from ssd_edge.service.reading import read_service, variables_of
from ssd_edge.web.address import Address

_PATIENCE = 5.0
_MOST_BYTES = 1 << 20


def asked_health(file: Path | None) -> dict[str, Any] | None:
    """Ask the service of a file for its ``/healthz``.

    Args:
        file: the service's file; None if it is not known.

    Returns:
        What it says, with ``healthy`` and, if it does not answer, ``reason``; None if the file serves no health.
    """
    if file is None:
        return None
    try:
        stand_in: Mapping[str, str] = {**dict.fromkeys(variables_of(file), "x"), **os.environ}
        address = read_service(file, stand_in).metrics
    except SsdEdgeError as error:
        return {"healthy": False, "reason": str(error)}
    return None if address is None else health_at(address)


def health_at(address: Address) -> dict[str, Any]:
    """Ask for the ``/healthz`` that is served at an address; see ``asked_health``."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)
    connection = HTTPConnection(host, address.port, timeout=_PATIENCE)
    try:
        connection.request("GET", "/healthz")
        said = parse_json(connection.getresponse().read(_MOST_BYTES))
        if not isinstance(said, dict) or not isinstance(said.get("healthy"), bool):
            raise ValueError("it is not ssd-edge's")
    except (OSError, HTTPException, ValueError) as error:
        return {"healthy": False, "reason": f"no answer from http://{address}/healthz: {error}"}
    finally:
        connection.close()
    return said
