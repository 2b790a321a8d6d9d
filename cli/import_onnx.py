"""``ssd-edge import-onnx``: convert an SSD that another program trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssd_edge.cli.common import needs, print_json, say
from ssd_edge.cli.proofs import WithProof, frames_for, keep
from ssd_edge.hints import command

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ssd_edge.pixels import Image


def import_onnx(
    onnx: Annotated[Path, typer.Argument(help="ONNX file with raw heads.")],
    spec: Annotated[
        Path,
        typer.Argument(
            help="JSON description of the model, as above; or its FP32 heads, if ONNX is their INT8 version."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("heads.onnx"),
    loc: Annotated[
        str,
        typer.Option(help="Name of the regression output, or of a tensor inside; found by its shape otherwise."),
    ] = "",
    logits: Annotated[
        str,
        typer.Option(help="Name of the class output, or of a tensor inside; found by its shape otherwise."),
    ] = "",
    images: Annotated[
        Path | None,
        typer.Option(
            help="Data set (its val split, if it has one) or folder of images with objects of the model's classes, for "
            "the proof; by default a rendered scene."
        ),
    ] = None,
    proof: WithProof = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the model's spec as JSON.")] = False,
) -> None:
    """Import an SSD that was trained elsewhere: an ONNX file with raw heads, and a description of the model.

    The ONNX file has one image input (1, 3, H, W), a regression output (1, boxes, 4) and a class output
    (1, boxes, classes) whose class 0 is background. The description:

    {"labels": ["person"], "input_size": [300, 300], "channel_order": "rgb",
    "mean": [127.5, 127.5, 127.5], "std": [127.5, 127.5, 127.5],
    "box_order": "xywh" or "yxhw", "score_function": "softmax" or "sigmoid", "variances": [0.1, 0.2],
    "levels": [{"grid": [19, 19], "boxes": [[SCALE, RATIO], ...]}, ...]}

    Instead of "boxes", a level may give "sizes" [[WIDTH, HEIGHT], ...] in fractions of the image.

    Next: ssd-edge eval OUTPUT DATA
    """
    with needs("calibrate", "import-onnx"):
        from ssd_edge.importing import import_onnx as import_heads
    from ssd_edge.data.images import validation_images
    from ssd_edge.proof import POOL

    frames: Iterable[Image] | None = None
    if spec.suffix != ".onnx" or images is not None:
        frames = list(validation_images(images, POOL))
    result = import_heads(onnx, spec, output, loc, logits)
    keep(output, frames_for(output, spec, frames, proof))
    if as_json:
        print_json(result.to_json())
    else:
        say(f"{output}: {result.num_default_boxes} default boxes, {len(result.labels)} classes")
        say(f"next: {command('eval', output, 'DATA')}")
