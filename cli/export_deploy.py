"""``ssd-edge export-deploy``: write the files with which Triton or DeepStream runs a bundle's plan."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ssd_edge.cli.common import print_json, say


class Server(str, Enum):
    """Software that will run the plan."""

    TRITON = "triton"
    DEEPSTREAM = "deepstream"


def export_deploy(
    bundle: Annotated[
        Path,
        typer.Argument(
            help="Engine bundle NAME.engine with a plan of backend tensorrt that includes decode.", show_default=False
        ),
    ],
    folder: Annotated[
        Path,
        typer.Argument(
            help="Output folder: a model repository for triton, a new folder for deepstream.", show_default=False
        ),
    ],
    to: Annotated[
        Server, typer.Option("--to", help="Software that will run the plan: triton or deepstream.", show_default=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write the files with which Triton or DeepStream runs a TensorRT plan: configuration, labels and instructions.

    triton makes FOLDER/NAME, an entry of a model repository. deepstream makes FOLDER, with nvinfer's configuration and
    the source of a parser for the plan's outputs. Neither has been run on a device yet.

    Next: what README.md in the folder says
    """
    from ssd_edge.engines.deploy import deepstream, triton
    from ssd_edge.engines.deploy.plan import deployable

    model = deployable(bundle)
    made = (triton if to is Server.TRITON else deepstream).export(model, folder)
    files = sorted(path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file())
    if as_json:
        print_json({"folder": str(made), "files": files})
        return
    say(f"{made}: {', '.join(files)}")
    if to is Server.DEEPSTREAM and deepstream.scale(model.spec)[1]:
        off = deepstream.scale(model.spec)[1]
        say(f"nvinfer has one scale for all channels: contrast is off by {off:.1%} in a channel, at most", "yellow")
    say(f"next: {made / 'README.md'}")
