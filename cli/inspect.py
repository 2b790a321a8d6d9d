"""``ssd-edge inspect``: show a model's properties, without running it on images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssd_edge.cli.common import cell, print_json

if TYPE_CHECKING:
    from ssd_edge.engines.base import PlanEntry
    from ssd_edge.spec import ModelSpec


def inspect(
    model: Annotated[Path, typer.Argument(help="Model to describe: NAME.engine/, NAME.onnx, NAME.pt or NAME.ckpt.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the properties as JSON.")] = False,
) -> None:
    """Show a model's properties: classes, input, default boxes, precision and origin.

    For an engine bundle, also verify the checksums of its files, and say which of its plans can run on this machine. A
    plan for a GPU that can run here is opened, to see whether its work is launched as CUDA graphs.

    Next: ssd-edge run MODEL --camera 0
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    facts, plans, spec = _facts(model)
    if as_json:
        print_json({**facts, **({"plans": plans} if plans else {}), "spec": spec.to_json()})
        return
    table = Table(show_header=False, box=None, title=cell(model), title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    rows = {
        **facts,
        **{f"plan {k}": _described(plan) for k, plan in enumerate(plans, 1)},
        "architecture": spec.architecture,
        "labels": ", ".join(spec.labels),
        "input": f"{spec.input_size[1]}×{spec.input_size[0]} {spec.channel_order}, mean {spec.mean}, std {spec.std}",
        "default boxes": f"{spec.num_default_boxes} on "
        + ", ".join(f"{columns}×{rows}·{len(level.sizes)}" for level in spec.levels for rows, columns in [level.grid]),
        "boxes": f"{spec.box_order}, variances {spec.variances[0]} and {spec.variances[1]}",
        "scores": f"{spec.score_function}, above {spec.score_threshold}",
        **{f"shown from: {label}": f"{score:.3f}" for label, score in spec.operating_scores.items()},
        "NMS": f"IoU {spec.nms_iou}, top {spec.top_k} of a class, {spec.max_detections} of an image",
        **{f"from: {key}": _short(key, value) for key, value in spec.provenance.items()},
    }
    for key, value in rows.items():
        table.add_row(cell(key), Text("\n").join(map(cell, str(value).splitlines())))
    Console().print(table)


def _short(key: str, value: str) -> str:
    """A fact of the provenance; of the hashes of images that were held out, how many they are."""
    return f"{len(value.split())} images" if key == "held_out" else value


def _facts(model: Path) -> tuple[dict[str, Any], list[dict[str, Any]], ModelSpec]:
    """Return facts about the file, a bundle's plans (each with why it cannot run here, or None), and the spec."""
    if model.suffix == ".onnx":
        from ssd_edge.graph.heads import precision_of, read_spec

        spec = read_spec(model)
        return {"kind": "heads in ONNX", "precision": precision_of(model)}, [], spec
    if not model.is_dir():
        from ssd_edge.engines.opening import open_model

        return {"kind": "checkpoint"}, [], open_model(model).spec
    from dataclasses import asdict

    from ssd_edge.engines.backends import GPU_BACKENDS
    from ssd_edge.engines.bundle.load import incompatibility
    from ssd_edge.engines.bundle.manifest import read_manifest

    manifest = read_manifest(model)
    plans = [{**asdict(plan), "cannot_run_here": incompatibility(plan)} for plan in manifest.plans]
    for plan, described in zip(manifest.plans, plans, strict=True):
        if plan.backend in GPU_BACKENDS:
            described["graph"] = _graph(model, plan, manifest.spec, described["cannot_run_here"])
        if plan.backend == "tensorrt":
            from ssd_edge.engines.tensorrt.backend import trtexec_line

            described["trtexec"] = trtexec_line(model, plan)
    return {"kind": "engine bundle", **manifest.provenance}, plans, manifest.spec


def _graph(bundle: Path, plan: PlanEntry, spec: ModelSpec, cannot_run_here: str | None) -> str:
    """Say whether the work of a plan for a GPU is launched as CUDA graphs, see ``Engine.graph``."""
    from ssd_edge.engines.backends import get_backend
    from ssd_edge.errors import SsdEdgeError

    if cannot_run_here is not None:
        return "not known: only its GPU can tell"
    try:
        with get_backend(plan.backend).load(bundle, plan, spec) as engine:
            return engine.graph or "no"
    except SsdEdgeError as error:
        return f"not known: {error}"


def _described(plan: dict[str, Any]) -> str:
    """Describe a plan in a few lines."""
    reason = plan["cannot_run_here"]
    lines = [
        f"{plan['backend']} {plan['version']} {plan['precision']} {plan['machine']}".strip(),
        f"here: {reason}" if reason else "runs here",
        f"from {plan['onnx']}, SHA-256 {plan['onnx_sha256']}",
        *(f"{key}: {value}" for key, value in plan["facts"].items()),
        *([f"CUDA graph: {plan['graph']}"] if "graph" in plan else []),
        *([f"without ssd-edge: {plan['trtexec']}"] if "trtexec" in plan else []),
    ]
    return "\n".join(lines)
