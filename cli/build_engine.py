"""``ssd-edge build-engine``: heads.onnx → NAME.engine/."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssd_edge.cli.common import print_json, progress, say


def build_engine(
    onnx: Annotated[Path, typer.Argument(help="Heads of ssd-edge export, calibrate or import-onnx.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The bundle, NAME.engine; beside the ONNX file if not given.")
    ] = None,
    backend: Annotated[str, typer.Option(help="openvino (the default on a CPU) or onnxruntime.")] = "openvino",
    as_json: Annotated[bool, typer.Option("--json", help="Print the bundle's manifest as JSON.")] = False,
) -> None:
    """Compile heads into an engine for this machine.

    The precision is that of the heads: INT8 where they went through ssd-edge calibrate, FP32 otherwise.

    Next: ssd-edge run NAME.engine --camera 0
    """
    from ssd_edge.engines.bundle import build_bundle

    target = output or onnx.with_suffix(".engine")
    with progress("building"):
        manifest = build_bundle(onnx, target, backend)
    if as_json:
        print_json(manifest.to_json())
        return
    plan = manifest.plans[0]
    size = sum((target / name).stat().st_size for name in plan.files) / 2**20
    say(f"{target}: {plan.backend} {plan.version}, {plan.precision}, {size:.1f} MiB")
    say(f"next: ssd-edge run {target} --camera 0")
