"""Build a bundle: compile heads for one or more backends, and prove each plan that can run here."""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ssd_edge import __version__
from ssd_edge.engines.backends import get_backend
from ssd_edge.engines.base import Backend, BuildOptions, PlanEntry
from ssd_edge.engines.bundle.load import incompatibility
from ssd_edge.engines.bundle.lock import locked, remove_leftovers
from ssd_edge.engines.bundle.manifest import MANIFEST, Manifest, files_of, rank, read_manifest, write_manifest
from ssd_edge.engines.cpu.weight_bits import heads_to_try
from ssd_edge.engines.proof.prove import CLEAR_ABOUT_NOTHING, proof_of, prove, write_proof
from ssd_edge.errors import BackendError, BundleError, DisagreementError
from ssd_edge.files import replace_folder, sha256
from ssd_edge.graph.heads import read_spec
from ssd_edge.progress import Note, Progress, no_note, no_progress
from ssd_edge.spec import ModelSpec


def build_bundle(
    onnx: Path,
    output: Path,
    *backend_names: str,
    options: BuildOptions | None = None,
    add: bool = False,
    progress: Progress = no_progress,
    note: Note = no_note,
) -> Manifest:
    """Compile heads into a bundle; an existing bundle of that name is replaced once the new one is complete.

    Args:
        onnx: heads with a spec in their metadata.
        output: the folder to make; its name ends in ``.engine``.
        backend_names: keys of ``BACKENDS``; one plan is built for each.
        options: options for the backends that take them.
        add: keep the plans of other backends that a bundle of that name already holds.
        progress: called while a backend compiles, if the backend reports progress.
        note: called with a sentence where another build of this bundle is waited for, or has left something behind.

    Raises:
        BundleError: ``output`` is something other than a bundle, or holds plans of other heads.
        BackendError: a runtime refused the heads, or none of the backends takes the options.
        DisagreementError: an engine does not find the detections in the proof of the heads.
        ProofError: the proof in the heads is damaged, or belongs to other heads.
        ModelError, SpecError: the ONNX file does not hold heads of ssd-edge.
    """
    if output.suffix != ".engine":
        raise BundleError(f"a bundle's name ends in .engine, but got {output.name}: try {output.name}.engine")
    if output.exists() and not (output / MANIFEST).is_file():
        raise BundleError(f"{output} exists and is no bundle: choose another name, or remove it")
    backends = {name: get_backend(name) for name in backend_names}
    _check_options(backends, options)
    spec, digest = read_spec(onnx), sha256(onnx)
    source = PlanEntry("", "", "", "", (), onnx.name, digest, spec.provenance, {}, "")
    origin = _origin(onnx.name, digest, spec)
    try:
        with locked(output, note):
            remove_leftovers(output, note)
            old = _manifest_to_extend(output, spec, origin) if add and output.exists() else None
            with tempfile.TemporaryDirectory(
                prefix=f".{output.name}.", dir=output.parent, ignore_cleanup_errors=True
            ) as scratch:
                folder = Path(scratch) / "bundle"
                folder.mkdir()
                source = replace(source, proof=write_proof(onnx, spec, folder))
                kept = _keep(output, folder, old, backends) if old else []
                built: list[PlanEntry] = []
                for backend in backends.values():
                    _copy(output, folder, [name for name in backend.CARRIED if (output / name).is_file()])
                    built.append(_build_plan(backend, onnx, spec, folder, source, options or BuildOptions(), progress))
                plans = tuple(sorted([*kept, *built], key=rank))
                hashes = {name: sha256(folder / name) for plan in plans for name in files_of(plan)}
                manifest = Manifest(old.spec if old else spec, plans, hashes, {**origin, **_made_here()})
                write_manifest(manifest, folder)
                replace_folder(folder, output)
    except OSError as error:
        raise BundleError(f"cannot build {output}: {error.strerror or error}; nothing was changed there") from None
    return manifest


def _keep(bundle: Path, folder: Path, old: Manifest, backends: Mapping[str, Backend]) -> list[PlanEntry]:
    """Copy the plans of a bundle that no backend builds again into ``folder``, and return them."""
    kept = [plan for plan in old.plans if plan.backend not in backends]
    _copy(bundle, folder, [name for plan in kept for name in files_of(plan)])
    return kept


def _copy(source: Path, target: Path, names: Iterable[str]) -> None:
    for name in names:
        shutil.copyfile(source / name, target / name)


def _made_here() -> dict[str, str]:
    """Return the provenance of a bundle that is built now."""
    return {
        "ssd_edge": __version__,
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "made_on": platform.platform(),
    }


def _build_plan(
    backend: Backend,
    onnx: Path,
    spec: ModelSpec,
    folder: Path,
    source: PlanEntry,
    options: BuildOptions,
    progress: Progress,
) -> PlanEntry:
    """Build a plan into ``folder`` from the first form of the heads that passes the proof.

    Args:
        backend: builds the plan.
        onnx: the heads.
        spec: spec of the heads.
        folder: the bundle's folder.
        source: the entry as far as it is known before the build: the heads and their proof.
        options: options for the backend.
        progress: called while the backend compiles.

    Raises:
        DisagreementError: no form of the heads passes.
    """
    refused: DisagreementError | None = None
    for heads, facts in heads_to_try(onnx, spec, backend, folder.parent):
        plan = backend.build(heads, spec, folder, options, progress)
        built = replace(
            source,
            backend=backend.NAME,
            version=plan.version,
            precision=plan.precision,
            machine="" if backend.ANY_PROCESSOR else platform.machine(),
            files=plan.files,
            facts={**plan.facts, **facts},
        )
        try:
            return replace(built, facts={**built.facts, "proof": _run_proof(folder, built, spec, onnx)})
        except DisagreementError as error:
            refused = error
    assert refused is not None
    raise refused


def _run_proof(folder: Path, plan: PlanEntry, spec: ModelSpec, onnx: Path) -> str:
    """Run a plan's proof and describe the result in words; raises DisagreementError if the engine disagrees."""
    if not plan.proof:
        return f"none: {onnx.name} carries none, or was made with --no-proof"
    reason = incompatibility(plan)
    if reason is not None:
        return f"not run: on this machine the plan {reason}"
    proof = proof_of(folder, plan, spec)
    if proof.counted == 0:
        return f"none: {CLEAR_ABOUT_NOTHING}"
    with get_backend(plan.backend).load(folder, plan, spec) as engine:
        return prove(engine, proof, onnx).sentence()


_SPELLED = {"workspace_mib": "workspace", "dla_core": "dla", "compute_capabilities": "compute-capability"}


def _check_options(backends: Mapping[str, Backend], options: BuildOptions | None) -> None:
    """Check that at least one of the backends takes each option that was set."""
    asked = options.asked if options else frozenset()
    left = sorted(asked - frozenset[str]().union(*(backend.OPTIONS for backend in backends.values())))
    if left:
        named = " and ".join(f"--{_SPELLED.get(name, name).replace('_', '-')}" for name in left)
        takers = [name for name in ("tensorrt", "tensorrt-rtx", "openvino") if set(left) <= get_backend(name).OPTIONS]
        raise BackendError(
            f"{' or '.join(backends)} takes no {named}: {' or '.join(takers) or 'no single backend'} does"
        )


def _origin(name: str, digest: str, spec: ModelSpec) -> dict[str, str]:
    """Provenance of the FP32 heads: the ONNX file itself, or the file that it was calibrated from."""
    if {"calibration_method", "parent_sha256"} <= spec.provenance.keys():
        return {"onnx": spec.provenance.get("parent", ""), "onnx_sha256": spec.provenance["parent_sha256"]}
    return {"onnx": name, "onnx_sha256": digest}


def _manifest_to_extend(output: Path, spec: ModelSpec, origin: Mapping[str, str]) -> Manifest:
    old = read_manifest(output)
    not_compared: dict[str, Any] = {"provenance": {}, "operating_scores": {}}
    same_model = replace(old.spec, **not_compared) == replace(spec, **not_compared)
    if not same_model or old.provenance.get("onnx_sha256") != origin["onnx_sha256"]:
        raise BundleError(
            f"{output} holds plans of other heads, made from another {old.provenance.get('onnx', 'ONNX file')}: "
            "build it without --add, or under another name"
        )
    return old
