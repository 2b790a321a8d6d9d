"""``ssd-edge build-engine``: heads.onnx → NAME.engine/."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssd_edge.choices import help_of
from ssd_edge.cli.common import print_json, progress, say
from ssd_edge.engines.backends import BACKENDS, DEFAULT_BACKEND
from ssd_edge.hints import command

_GPUS = "For GPUs"
_TENSORRT = "Backend tensorrt"


def build_engine(
    onnx: Annotated[Path, typer.Argument(help="ONNX heads from ssd-edge export, calibrate or import-onnx.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Engine bundle to write; by default NAME.engine beside the ONNX file."),
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Inference backend: {help_of(BACKENDS, DEFAULT_BACKEND)}. May be repeated: one plan for each."
        ),
    ] = None,
    add: Annotated[
        bool,
        typer.Option("--add", help="Add to an existing bundle of the same heads: keep the plans of other backends."),
    ] = False,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Precision: fp32, fp16 or int8; by default int8 for calibrated heads, else fp16.",
            rich_help_panel=_GPUS,
        ),
    ] = None,
    compute_capability: Annotated[
        list[str] | None,
        typer.Option(
            help="CUDA compute capability of the GPUs to build for, with tensorrt-rtx; one or more. By default 8.6 8.9 "
            "12.0, for RTX 30, 40 and 50.",
            rich_help_panel=_GPUS,
        ),
    ] = None,
    decode: Annotated[
        str | None,
        typer.Option(
            help="Implementation of decode: ahead-of-time (kernels in the plan; the default from TensorRT 10.9), "
            "python (Python plugins; the default before), library (C++ plugins), host-launch (after the engine).",
            rich_help_panel=_TENSORRT,
        ),
    ] = None,
    workspace: Annotated[
        int,
        typer.Option(min=0, help="Workspace limit in MiB, for each layer; 0: no limit.", rich_help_panel=_TENSORRT),
    ] = 0,
    optimisation_level: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=5,
            help="Builder optimisation level, 0 … 5: a higher one builds longer.",
            rich_help_panel=_TENSORRT,
        ),
    ] = None,
    max_batch: Annotated[
        int,
        typer.Option(
            min=1,
            help="Maximum batch size: run with several cameras takes up to so many frames at once.",
            rich_help_panel=_TENSORRT,
        ),
    ] = 1,
    version_compatible: Annotated[
        bool,
        typer.Option(
            "--version-compatible",
            help="Also run on later TensorRT of the same major version.",
            rich_help_panel=_TENSORRT,
        ),
    ] = False,
    hardware_compatible: Annotated[
        str | None,
        typer.Option(help="Also run on other GPUs: ampere-plus or same-compute-capability.", rich_help_panel=_TENSORRT),
    ] = None,
    dla: Annotated[
        int | None,
        typer.Option(
            min=0, help="DLA core to run on (0, 1); the GPU runs the layers that it cannot.", rich_help_panel=_TENSORRT
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Fail if a convolution has another precision than asked for, or the DLA cannot run a layer.",
            rich_help_panel=_GPUS,
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the bundle's manifest as JSON.")] = False,
) -> None:
    """Compile ONNX heads into an engine for this machine's CPU or GPU, or for RTX GPUs in other machines.

    On a CPU the precision is that of the heads: INT8 after ssd-edge calibrate, FP32 otherwise. The engine is tested
    before it is written: it runs on the images stored in the heads, and its detections must be those of the model.

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
        if "decode_instead" in plan.facts:
            say(f"  decode {plan.facts['decode_instead']}", "yellow")
        if plan.facts.get("timing", "").startswith("measured anew"):
            say(f"kernels were {plan.facts['timing']}", "yellow")
        if "other_precision" in plan.facts:
            say(f"convolutions of another precision than asked for: {plan.facts['other_precision']}", "yellow")
        if "unread" in plan.facts.get("convolutions", ""):
            say(f"the precision of these could not be read in the plan of {plan.backend} {plan.version}", "yellow")
    here = any(incompatibility(plan) is None for plan in manifest.plans)
    say(f"next{'' if here else ', on a machine with such a GPU'}: {command('run', target, '--camera', 0)}")


def _split(values: list[str]) -> tuple[str, ...]:
    """Split values at commas, and drop duplicates."""
    return tuple(dict.fromkeys(part.strip() for value in values for part in value.split(",") if part.strip()))
