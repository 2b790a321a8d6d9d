"""``ssd-edge import``: make a checkpoint from a detector that another project trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssd_edge.choices import help_of
from ssd_edge.cli.common import needs, print_json, say
from ssd_edge.hints import command
from ssd_edge.starts.catalogue import SOURCES


def import_model(
    file: Annotated[Path, typer.Argument(help="Weights of a whole detector, as the project saves them.")],
    source: Annotated[str, typer.Option("--from", help=f"The project that made FILE: {help_of(SOURCES)}.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoint to write.")] = Path("model.pt"),
    labels: Annotated[
        str,
        typer.Option(
            help="Class names: a file with one on each line, or names with commas between them, without background; "
            "by default VOC's or COCO's if their number fits."
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the model's spec as JSON.")] = False,
) -> None:
    """Import the PyTorch or TensorFlow weights of an SSD that was trained elsewhere, to fine-tune, export and run it.

    The checkpoint's network computes what the original does; default boxes, input and NMS settings are the project's
    own. Nothing in FILE is executed. For ONNX files, and for other networks, see import-onnx.

    Next: ssd-edge eval OUTPUT DATA, or ssd-edge export OUTPUT, or ssd-edge train DATA --from OUTPUT
    """
    with needs("train", "import"):
        from ssd_edge.starts.convert import import_start
    from ssd_edge.data.wording import counted

    spec = import_start(file, source, output, labels).spec
    if as_json:
        print_json(spec.to_json())
    else:
        names = ", ".join(spec.labels[:3]) + (" …" if len(spec.labels) > 3 else "")
        classes = f"{counted(len(spec.labels), 'class')}: {names}"
        say(f"{output}: {spec.architecture} with {spec.num_default_boxes} default boxes; {classes}")
        say(f"next: {command('export', output)}")
