"""``ssd-edge export``: checkpoint → heads.onnx."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssd_edge.cli.common import needs, print_json, progress, say
from ssd_edge.cli.proofs import WithProof, keep
from ssd_edge.hints import command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ssd_edge.calibration.network.quantise import Int8Heads


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint from ssd-edge train: model.pt.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="ONNX file to write; by default beside the checkpoint.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Data set (its val split, if it has one) or folder of images, for the comparison and the proof; by "
            "default a rendered scene."
        ),
    ] = None,
    proof: WithProof = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Export a checkpoint's heads to ONNX, and compare them with PyTorch.

    The file includes the model's spec: labels, default boxes and preprocessing. ONNX Runtime runs it on images, and
    the largest difference from PyTorch is printed. A few of the images are stored in the file, with the model's
    detections: the proof by which every engine built from it is checked.

    A checkpoint of train --qat includes INT8 scales, so NAME.int8.onnx is written too, and needs no calibration.

    Next: ssd-edge calibrate, or ssd-edge build-engine
    """
    with needs("train", "export"):
        from ssd_edge.export import compare, export_onnx
        from ssd_edge.training.checkpoints import load_checkpoint, load_scales
    from ssd_edge.data.images import preprocessed, validation_images
    from ssd_edge.engines.opening import open_model
    from ssd_edge.proof import POOL

    network = load_checkpoint(checkpoint)
    scales = load_scales(checkpoint)
    pictures = list(validation_images(images, POOL))
    target = output or checkpoint.with_suffix(".onnx")
    with progress("exporting"):
        spec = export_onnx(network, target, checkpoint)
        with open_model(target) as engine:
            agreement = compare(network, lambda image: engine.submit(image)(), preprocessed(pictures[:16], spec))
    keep(target, pictures if proof else None)
    int8 = _int8(target, scales) if scales else None
    if int8 is not None:
        keep(int8.path, pictures if proof else None)
    if as_json:
        written = {"onnx": str(target)} | ({"int8_onnx": str(int8.path)} if int8 else {})
        print_json({**written, "opset": spec.provenance["opset"], **asdict(agreement)})
        return
    opset = spec.provenance["opset"]
    say(f"{target}: {spec.num_default_boxes} default boxes, {len(spec.labels)} classes, opset {opset}")
    say(
        f"largest difference from PyTorch on {agreement.images} images: "
        f"loc {agreement.loc:.1e}, logits {agreement.logits:.1e}"
    )
    if int8 is not None:
        say(f"{int8.path}: {int8.num_quantised} of {int8.num_convolutions} convolutions in INT8, as they were trained")
        say(f"next: {command('build-engine', int8.path)}")
    else:
        say(f"next: {command('calibrate', target, 'DATA')}, or {command('build-engine', target)}")


def _int8(heads: Path, scales: Mapping[str, float]) -> Int8Heads:
    from ssd_edge.calibration.network.network import prepare
    from ssd_edge.calibration.network.quantise import quantise

    network = prepare(heads)
    return quantise(network, scales, heads.with_suffix(".int8.onnx"), calibration_method="quantisation-aware training")
