"""``ssd-edge export-deploy``: write the files with which Triton, DeepStream or Frigate runs a bundle's plan."""

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
    FRIGATE = "frigate"


def export_deploy(
    bundle: Annotated[
        Path,
        typer.Argument(
            help="Engine bundle NAME.engine: with a plan of backend tensorrt that includes decode, or for frigate with "
            "one of backend openvino.",
            show_default=False,
        ),
    ],
    folder: Annotated[
        Path,
        typer.Argument(
            help="Output folder: a model repository for triton, a new folder for the others.", show_default=False
        ),
    ],
    to: Annotated[
        Server,
        typer.Option(
            "--to", help="Software that will run the plan: triton, deepstream or frigate.", show_default=False
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write the files with which Triton, DeepStream or Frigate runs a plan: configuration, labels and instructions.

    triton makes FOLDER/NAME, an entry of a model repository. deepstream makes FOLDER, with nvinfer's configuration and
    the source of a parser for the plan's outputs. Both take a TensorRT plan; neither has been run on a device yet.
    frigate makes FOLDER, with an OpenVINO model that holds preprocess, decode and NMS.

    Next: what README.md in the folder says
    """
    made = _made(bundle, folder, to)
    files = sorted(path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file())
    if as_json:
        print_json({"folder": str(made), "files": files})
        return
    say(f"{made}: {', '.join(files)}")
    say(f"next: {made / 'README.md'}")


def _made(bundle: Path, folder: Path, to: Server) -> Path:
    from ssd_edge.engines.deploy.plan import deployable

    if to is Server.FRIGATE:
        from ssd_edge.engines.deploy import frigate

        return frigate.export(bundle, folder)
    from ssd_edge.engines.deploy import deepstream, triton

    model = deployable(bundle)
    if to is Server.TRITON:
        return triton.export(model, folder)
    off = deepstream.scale(model.spec)[1]
    made = deepstream.export(model, folder)
    if off:
        say(f"nvinfer has one scale for all channels: contrast is off by {off:.1%} in a channel, at most", "yellow")
    return made
