"""``ssd-edge verify``: whether an engine still finds what its model finds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssd_edge.cli.common import print_json, progress, say

_COLOURS = {"right": "green", "wrong": "red", "not run": "yellow"}


def verify(
    engine: Annotated[Path, typer.Argument(help="NAME.engine/.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check an engine on this machine by the proof that it carries: images, and what the model finds in them.

    build-engine does this with every engine before it is written. Do it again after an update of the driver or of
    JetPack, or where the bundle was copied to. Each plan that can run here is run. Exit code 0 when all of them find
    what the model finds, 1 when one does not, 2 when none could be checked.

    Next: ssd-edge run NAME.engine --camera 0
    """
    from ssd_edge.engines.proof.verify import verify_bundle
    from ssd_edge.errors import ProofError

    with progress("verifying"):
        results = list(verify_bundle(engine))
    if as_json:
        print_json({"engine": str(engine), "plans": [one.to_json() for one in results]})
    for one in results:
        said = one.agreement.sentence() if one.agreement else one.reason
        say(f"{one.status:7} {one.plan.backend} {one.plan.precision}: {said}", _COLOURS[one.status])
    if any(one.disagrees for one in results):
        raise typer.Exit(1)
    if not any(one.agreement for one in results):
        raise ProofError(f"no plan of {engine} could be checked here")
