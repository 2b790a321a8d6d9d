"""``ssd-edge swap``: have another engine take over in a running service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ssd_edge.cli.common import print_json, say

_REFUSED = 1
_COLOURS = {"refused": "red", "went back": "red", "ended": "yellow", "kept": "green"}


def swap(
    engine: Annotated[
        Path | None, typer.Argument(metavar="NAME.engine", help="The new engine bundle, on this machine.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE.yaml",
            help="The service's file. By default the service whose file lies in the current folder.",
        ),
    ] = None,
    status: Annotated[bool, typer.Option("--status", help="Say what works and what is being tried.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each event.")] = False,
) -> None:
    """Have a new engine take over in a running service: without a lost frame, and only if it keeps to the contract.

    The service proves it, runs it beside the old engine on some frames of the live cameras, lets it take over between
    two frames, and goes back by itself if it then fails, disagrees, slows down, or grows in memory. Ctrl-C ends the
    watching, not the trial. The limits are swap: of the service's file. Exit code 0: the new engine is kept; 1: it was
    refused, or the old one works again; 2: it could not be tried.

    Next: ssd-edge swap --status
    """
    from ssd_edge.errors import ServiceError
    from ssd_edge.service.control import ask

    if status == (engine is not None):
        raise ServiceError("name the new engine, as in ssd-edge swap NAME.engine, or ask with --status")
    file = config or _only_file()
    if engine is None:
        (answer,) = ask(file, {"status": True})
        if as_json:
            print_json(answer)
            return
        say(f"{answer['model']} works; {answer['tried'] or 'nothing'} is being tried")
        if answer["last"]:
            say(f"last: {answer['last']['event']}: {answer['last']['text']}")
        return
    event = ""
    for answer in ask(file, {"swap": str(engine.absolute())}):
        event = answer["event"]
        if as_json:
            typer.echo(json.dumps(answer))
        else:
            say(f"{event}: {answer['text']}", _COLOURS.get(event, ""))
    if event != "kept":
        raise typer.Exit(_REFUSED)


def _only_file() -> Path:
    """Return the file of the only service that runs with a file of the current folder.

    Raises:
        ServiceError: there is none, or there are several.
    """
    from ssd_edge.errors import ServiceError
    from ssd_edge.service.control import files_in

    found = files_in(Path())
    if len(found) != 1:
        several = f"several services run here ({', '.join(map(str, found))})" if found else "no service runs here"
        raise ServiceError(f"{several}: name its file with --config FILE.yaml")
    return found[0]
