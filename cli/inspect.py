"""``ssd-edge inspect``: what a model is, without running it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssd_edge.cli.common import print_json

if TYPE_CHECKING:
    from ssd_edge.spec import ModelSpec


def inspect(
    model: Annotated[Path, typer.Argument(help="NAME.engine/, NAME.onnx, NAME.pt or NAME.ckpt.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show what a model is: classes, input, default boxes, precision, and where it comes from.

    The files of a bundle are compared with their checksums.

    Next: ssd-edge run MODEL --camera 0
    """
    from rich.console import Console
    from rich.table import Table

    facts, spec = _facts(model)
    if as_json:
        print_json({**facts, "spec": spec.to_json()})
        return
    table = Table(show_header=False, box=None, title=str(model), title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    rows = {
        **facts,
        "architecture": spec.architecture,
        "labels": ", ".join(spec.labels),
        "input": f"{spec.input_size[0]}×{spec.input_size[1]} {spec.channel_order}, mean {spec.mean}, std {spec.std}",
        "default boxes": f"{spec.num_default_boxes} on "
        + ", ".join(f"{a}×{b}·{len(level.sizes)}" for level in spec.levels for a, b in [level.grid]),
        "boxes": f"{spec.box_order}, variances {spec.variances[0]} and {spec.variances[1]}",
        "scores": f"{spec.score_function}, above {spec.score_threshold}",
        "NMS": f"IoU {spec.nms_iou}, top {spec.top_k} of a class, {spec.max_detections} of an image",
        **{f"from: {key}": value for key, value in spec.provenance.items()},
    }
    for key, value in rows.items():
        table.add_row(key, str(value))
    Console().print(table)


def _facts(model: Path) -> tuple[dict[str, Any], ModelSpec]:
    """What the container says beside the spec."""
    if model.suffix == ".onnx":
        from ssd_edge.engines.onnxruntime import precision_of, read_spec

        spec = read_spec(model)
        return {"kind": "heads in ONNX", "precision": precision_of(model)}, spec
    if not model.is_dir():
        from ssd_edge.engines.opening import open_model

        return {"kind": "checkpoint"}, open_model(model).spec
    from ssd_edge.engines.bundle import read_manifest

    manifest = read_manifest(model)
    plans = [f"{plan.backend} {plan.version} {plan.precision} {plan.machine}".strip() for plan in manifest.plans]
    return {"kind": "engine bundle", "plans": "; ".join(plans), **manifest.provenance}, manifest.spec
