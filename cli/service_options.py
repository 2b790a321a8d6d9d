"""Options of ``run`` for a service that one file describes, and for the form of its lines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE.yaml",
        help="Run the model, cameras and outputs that this file names, and read it again on SIGHUP: docs/service.md.",
    ),
]
CheckConfig = Annotated[
    bool, typer.Option("--check-config", help="With --config: check the file and all that it names, and start nothing.")
]
ExampleConfig = Annotated[bool, typer.Option("--example-config", help="Print a file for --config, with comments.")]
Wait = Annotated[
    bool,
    typer.Option(
        "--wait", help="With --config: start without cameras and outputs that are not there yet, and open them later."
    ),
]
LogForm = Annotated[
    Literal["text", "json"],
    typer.Option("--log", help="Form of the lines on stderr: text for people, json for one JSON object a line."),
]
