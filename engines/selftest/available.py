"""Tell whether a backend can run here; if it can, any error of it is a failure."""

from __future__ import annotations

from ssd_edge.engines.readiness import READINESS, readiness
from ssd_edge.engines.selftest.sections import NotRunError
from ssd_edge.machine.host import this_host


def why_not(backend: str) -> str | None:
    """Explain why a backend cannot be built and run here; None if it can."""
    return readiness(this_host(), {backend: READINESS[backend]})[backend].why_not_built()


def must_run(backend: str) -> None:
    """Raise NotRunError if a backend cannot run here."""
    why = why_not(backend)
    if why is not None:
        raise NotRunError(f"{backend}: {why}")
