"""``ssd-edge build-engine``: heads.onnx → NAME.engine/."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssd_edge.choices import help_of
from ssd_edge.cli.common import print_json, progress, say
from ssd_edge.engines.backends import BACKENDS, DEFAULT_BACKEND

_GPUS = "For GPUs"
_TENSORRT = "Backend tensorrt"


def build_engine(
    onnx: Annotated[Path, typer.Argument(help="Heads of ssd-edge export, calibrate or import-onnx.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The bundle, NAME.engine; beside the ONNX file if not given.")
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(help=f"What runs the engine: {help_of(BACKENDS, DEFAULT_BACKEND)}. Several make a plan each."),
    ] = None,
    add: Annotated[
        bool,
        typer.Option("--add", help="Keep the plans that other backends have in the bundle; of the same heads only."),
    ] = False,
    precision: Annotated[
        str | None,
        typer.Option(
            help="fp32, fp16 or int8; by default int8 of heads that were calibrated, else fp16.", rich_help_panel=_GPUS
        ),
    ] = None,
    compute_capability: Annotated[
        list[str] | None,
        typer.Option(
            help="tensorrt-rtx: of the GPUs to build for, one or more; by default 8.6 8.9 12.0, which are RTX 30, 40 "
            "and 50.",
            rich_help_panel=_GPUS,
        ),
    ] = None,
    decode: Annotated[
        str | None,
        typer.Option(
            help="How the engine comes by its decode: ahead-of-time (the default from TensorRT 10.9), python (before), "
            "library, or host-launch, after the engine.",
            rich_help_panel=_TENSORRT,
        ),
    ] = None,
    workspace: Annotated[
        int,
        typer.Option(min=0, help="MiB that a layer may use while it runs; 0: all there is.", rich_help_panel=_TENSORRT),
    ] = 0,
    optimisation_level: Annotated[
        int | None,
        typer.Option(
            min=0, max=5, help="How long the builder searches for faster kernels: 0 … 5.", rich_help_panel=_TENSORRT
        ),
    ] = None,
    max_batch: Annotated[
        int, typer.Option(min=1, help="Largest batch that the plan takes.", rich_help_panel=_TENSORRT)
    ] = 1,
    version_compatible: Annotated[
        bool,
        typer.Option(
            "--version-compatible", help="Later TensorRT of the same major runs it too.", rich_help_panel=_TENSORRT
        ),
    ] = False,
    hardware_compatible: Annotated[
        str | None,
        typer.Option(help="Other GPUs run it too: ampere-plus, or same-compute-capability.", rich_help_panel=_TENSORRT),
    ] = None,
    dla: Annotated[
        int | None,
        typer.Option(
            min=0, help="Number of the DLA to run on; what it cannot, the GPU does.", rich_help_panel=_TENSORRT
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="With --dla: what the DLA cannot run is an error.", rich_help_panel=_TENSORRT),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the bundle's manifest as JSON.")] = False,
) -> None:
    """Compile heads into an engine: for this machine's CPU or GPU, or for RTX GPUs, wherever they are.

    On a CPU the precision is that of the heads: INT8 where they went through ssd-edge calibrate, FP32 otherwise.
    Before it is written, the engine runs on the images that the heads carry; one that does not find in them what the
    model finds is not written.

    Next: ssd-edge run NAME.engine --camera 0
    """
    from ssd_edge.engines.base import BuildOptions
    from ssd_edge.engines.bundle.build import build_bundle
    from ssd_edge.engines.bundle.load import incompatibility

    target = output or onnx.with_suffix(".engine")
    options = BuildOptions(
        precision=precision.upper() if precision else None,
        compute_capabilities=_split(compute_capability or []),
        decode=decode,
        workspace_mib=workspace,
        optimisation_level=optimisation_level,
        version_compatible=version_compatible,
        hardware_compatible=hardware_compatible,
        dla_core=dla,
        strict=strict,
        max_batch=max_batch,
    )
    with progress("building") as bar:
        manifest = build_bundle(
            onnx, target, *_split(backend or [DEFAULT_BACKEND]), options=options, add=add, progress=bar, note=say
        )
    if as_json:
        print_json(manifest.to_json())
        return
    for plan in manifest.plans:
        size = sum((target / name).stat().st_size for name in plan.files) / 2**20
        detail = f" ({plan.facts['convolutions']} convolutions)" if "convolutions" in plan.facts else ""
        say(f"{target}: {plan.backend} {plan.version}, {plan.precision}{detail}, {size:.1f} MiB")
        proof = plan.facts.get("proof", "")
        unproved = proof.partition(":")[0] in {"none", "not run"}
        say(f"  proof {proof}" if unproved else f"  proof holds: {proof}", "yellow" if unproved else "")
        if plan.facts.get("timing", "").startswith("measured anew"):
            say(f"kernels were {plan.facts['timing']}", "yellow")
        if "unread" in plan.facts.get("convolutions", ""):
            say(f"the precision of these could not be read in the plan of {plan.backend} {plan.version}", "yellow")
    here = any(incompatibility(plan) is None for plan in manifest.plans)
    say(f"next{'' if here else ', on a machine with such a GPU'}: ssd-edge run {target} --camera 0")


def _split(values: list[str]) -> tuple[str, ...]:
    """Of lists with commas, too, each value once."""
    return tuple(dict.fromkeys(part.strip() for value in values for part in value.split(",") if part.strip()))
