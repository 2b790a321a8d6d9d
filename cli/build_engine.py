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
    backend: Annotated[
        list[str] | None,
        typer.Option(
            help="openvino (the default, on a CPU), onnxruntime, or tensorrt-rtx, which needs no GPU to build; several "
            "make a plan each.",
        ),
    ] = None,
    add: Annotated[
        bool,
        typer.Option("--add", help="Keep the plans that other backends have in the bundle; of the same heads only."),
    ] = False,
    precision: Annotated[
        str | None,
        typer.Option(
            help="tensorrt-rtx: fp32, fp16 or int8; by default int8 of heads that were calibrated, else fp16."
        ),
    ] = None,
    compute_capability: Annotated[
        list[str] | None,
        typer.Option(
            help="tensorrt-rtx: of the GPUs to build for, one or more; by default 8.6 8.9 12.0, which are RTX 30, 40 "
            "and 50.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the bundle's manifest as JSON.")] = False,
) -> None:
    """Compile heads into an engine: for this machine's CPU, or for RTX GPUs, wherever they are.

    On a CPU the precision is that of the heads: INT8 where they went through ssd-edge calibrate, FP32 otherwise.

    Next: ssd-edge run NAME.engine --camera 0
    """
    from ssd_edge.engines.base import BuildOptions
    from ssd_edge.engines.bundle import build_bundle, incompatibility

    target = output or onnx.with_suffix(".engine")
    options = BuildOptions(precision.upper() if precision else None, _split(compute_capability or []))
    with progress("building") as advance:
        manifest = build_bundle(
            onnx, target, *_split(backend or ["openvino"]), options=options, add=add, progress=advance
        )
    if as_json:
        print_json(manifest.to_json())
        return
    for plan in manifest.plans:
        size = sum((target / name).stat().st_size for name in plan.files) / 2**20
        detail = f" ({plan.facts['convolutions']} convolutions)" if "convolutions" in plan.facts else ""
        say(f"{target}: {plan.backend} {plan.version}, {plan.precision}{detail}, {size:.1f} MiB")
        if "unread" in plan.facts.get("convolutions", ""):
            say(f"the precision of these could not be read in the plan of {plan.backend} {plan.version}", "yellow")
    here = any(incompatibility(plan) is None for plan in manifest.plans)
    say(f"next{'' if here else ', on a machine with such a GPU'}: ssd-edge run {target} --camera 0")


def _split(values: list[str]) -> tuple[str, ...]:
    """Of lists with commas, too, each value once."""
    return tuple(dict.fromkeys(part.strip() for value in values for part in value.split(",") if part.strip()))
