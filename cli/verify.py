"""``ssd-edge verify``: check that an engine still detects what its model detects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssd_edge.cli.common import print_json, progress, say

_COLOURS = {"right": "green", "wrong": "red", "not run": "yellow"}


def verify(
    engine: Annotated[Path, typer.Argument(help="Engine bundle to check: NAME.engine/.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check an engine on this machine by its proof: stored images, with the detections that are expected in them.

    build-engine does this before it writes an engine. Repeat it after an update of the driver or JetPack, and on each
    machine that the bundle is copied to. Every plan that can run here is run. Exit code 0: all have the expected
    detections; 1: one has not; 2: none could be checked.

    Next: ssd-edge run NAME.engine --camera 0
    """
    from ssd_edge.engines.proof.verify import verify_bundle
    from ssd_edge.errors import ProofError

    with progress("verifying"):
        results = list(verify_bundle(engine))
    if as_json:
        print_json({"engine": str(engine), "plans": [one.to_json() for one in results]})
    for one in results:
        sentence = one.agreement.sentence() if one.agreement else one.reason
        say(f"{one.status:7} {one.plan.backend} {one.plan.precision}: {sentence}", _COLOURS[one.status])
    if any(one.disagrees for one in results):
        raise typer.Exit(1)
    if not any(one.agreement for one in results):
        raise ProofError(f"no plan of {engine} could be checked here")
