"""Whether a backend can run here: then whatever it fails at is a failure."""

from __future__ import annotations

from ssd_edge.engines.readiness import READINESS, readiness
from ssd_edge.engines.selftest.sections import NotRunError
from ssd_edge.machine.host import this_host


def why_not(backend: str) -> str | None:
    """What keeps it from running; None where nothing does."""
    ready = readiness(this_host(), {backend: READINESS[backend]})[backend]
    return None if ready.runs else ready.sentence()


def must_run(backend: str) -> None:
    """Raise NotRunError where it cannot."""
    why = why_not(backend)
    if why is not None:
        raise NotRunError(f"{backend}: {why}")
