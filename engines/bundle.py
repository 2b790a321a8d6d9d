"""The bundle NAME.engine/: a manifest, the plans it describes, and the checks between a file and a running engine.

A bundle holds at most one plan of each backend. All plans come from the same FP32 heads: built from that very file, or
from INT8 heads calibrated from it. A plan that can run on the machine that builds it is written only if it passes the
proof of its heads there.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any

from ssd_edge import __version__
from ssd_edge.detector import Engine
from ssd_edge.engines.base import BACKENDS, Backend, BuildOptions, PlanEntry, get_backend
from ssd_edge.engines.proof.prove import CLEAR_ABOUT_NOTHING, proof_of, prove, write_proof
from ssd_edge.errors import (
    BackendError,
    BundleCompatibilityError,
    BundleError,
    BundleIntegrityError,
    DisagreementError,
    SpecError,
)
from ssd_edge.files import replace_folder, sha256, user_cache, written_whole
from ssd_edge.machine import instructions
from ssd_edge.machine.host import this_host
from ssd_edge.progress import Note, Progress, no_note, no_progress
from ssd_edge.spec import ModelSpec

SCHEMA_VERSION = 2
MANIFEST = "manifest.json"
_SEAL = "manifest_sha256"
_REBUILD = "build it again with ssd-edge build-engine"


@dataclass(frozen=True)
class Manifest:
    """Content of ``manifest.json``.

    Attributes:
        spec: the model's spec, with the provenance of the heads that were built first.
        plans: the bundle's plans, best first, in the order of ``BACKENDS``.
        sha256: SHA-256 of each file, by the file's name.
        provenance: origin of the bundle: the FP32 heads (``onnx``) and their SHA-256, versions, time.
    """

    spec: ModelSpec
    plans: tuple[PlanEntry, ...]
    sha256: Mapping[str, str]
    provenance: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "spec": self.spec.to_json(),
            "plans": [asdict(plan) for plan in self.plans],
            "sha256": dict(self.sha256),
            "provenance": dict(self.provenance),
        }


def build_bundle(
    onnx: Path,
    output: Path,
    *backend_names: str,
    options: BuildOptions | None = None,
    add: bool = False,
    progress: Progress = no_progress,
) -> Manifest:
    """Compile heads into a bundle; an existing bundle of that name is replaced once the new one is complete.

    Args:
        onnx: heads with a spec in their metadata.
        output: the folder to make; its name ends in ``.engine``.
        backend_names: keys of ``BACKENDS``; one plan is built for each.
        options: options for the backends that take them.
        add: keep the plans of other backends that a bundle of that name already holds.
        progress: called while a backend compiles, if the backend reports progress.

    Raises:
        BundleError: ``output`` is something other than a bundle, or holds plans of other heads.
        BackendError: a runtime refused the heads, or none of the backends takes the options.
        DisagreementError: an engine does not find the detections in the proof of the heads.
        ProofError: the proof in the heads is damaged, or belongs to other heads.
        ModelError, SpecError: the ONNX file does not hold heads of ssd-edge.
    """
    from ssd_edge.graph.heads import read_spec

    if output.suffix != ".engine":
        raise BundleError(f"a bundle's name ends in .engine, but got {output.name}: try {output.name}.engine")
    if output.exists() and not (output / MANIFEST).is_file():
        raise BundleError(f"{output} exists and is no bundle: choose another name, or remove it")
    backends = {name: get_backend(name) for name in backend_names}
    _check_options(backends, options)
    spec, digest = read_spec(onnx), sha256(onnx)
    origin = _origin(onnx.name, digest, spec)
    old = _manifest_to_extend(output, spec, origin) if add and output.exists() else None
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as scratch:
            folder = Path(scratch) / "bundle"
            folder.mkdir()
            entries = [plan for plan in old.plans if plan.backend not in backends] if old else []
            for entry in entries:
                for name in _files_of(entry):
                    shutil.copyfile(output / name, folder / name)
            proof = write_proof(onnx, spec, folder)
            source = PlanEntry("", "", "", "", (), onnx.name, digest, spec.provenance, {}, proof)
            for backend in backends.values():
                for name in backend.CARRIED:
                    if (output / name).is_file():
                        shutil.copyfile(output / name, folder / name)
                entries.append(_build_plan(backend, onnx, spec, folder, source, options or BuildOptions(), progress))
            manifest = Manifest(
                old.spec if old else spec,
                tuple(sorted(entries, key=_rank)),
                {name: sha256(folder / name) for entry in entries for name in _files_of(entry)},
                {
                    **origin,
                    "ssd_edge": __version__,
                    "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                    "made_on": platform.platform(),
                },
            )
            (folder / MANIFEST).write_bytes(_sealed(manifest))
            replace_folder(folder, output)
    except OSError as error:
        raise BundleError(f"cannot build {output}: {error.strerror or error}; nothing was changed there") from None
    return manifest


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
    from ssd_edge.engines.cpu.weight_bits import heads_to_try

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


def _files_of(plan: PlanEntry) -> tuple[str, ...]:
    """Names of all files of a plan in the bundle's folder, including its proof."""
    return (*plan.files, plan.proof) if plan.proof else plan.files


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
    with closing(get_backend(plan.backend).load(folder, plan, spec)) as engine:
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


def _rank(plan: PlanEntry) -> int:
    """Rank of a plan for sorting; the best plan has the lowest."""
    order = list(BACKENDS)
    return order.index(plan.backend) if plan.backend in order else len(order)


def _sealed(manifest: Manifest) -> bytes:
    """Encode the manifest with its own SHA-256, which is computed while that field is still empty."""
    text = json.dumps({_SEAL: "", **manifest.to_json()}, indent=2) + "\n"
    return text.replace('""', f'"{hashlib.sha256(text.encode()).hexdigest()}"', 1).encode()


def replace_spec(folder: Path, spec: ModelSpec) -> None:
    """Replace the spec in a bundle's manifest; the plans stay.

    Raises:
        BundleIntegrityError: the folder is not a bundle, or it is damaged.
        BundleCompatibilityError: the bundle has another schema version.
    """
    manifest = replace(read_manifest(folder), spec=spec)
    with written_whole(folder / MANIFEST) as partial:
        partial.write_bytes(_sealed(manifest))


def _is_sealed(text: bytes, seal: object) -> bool:
    return hashlib.sha256(text.replace(f'"{seal}"'.encode(), b'""', 1)).hexdigest() == seal


def read_manifest(folder: Path) -> Manifest:
    """Read a bundle's manifest and compare every file with its checksum.

    Raises:
        BundleIntegrityError: the folder is not a bundle, or a file is missing, altered or unreadable.
        BundleCompatibilityError: the bundle has another schema version.
    """
    try:
        text = (folder / MANIFEST).read_bytes()
        content = json.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        what = "has no manifest.json" if folder.is_dir() else "is no folder" if folder.exists() else "is not there"
        raise BundleIntegrityError(f"{folder} {what}, so it is no engine bundle: {_REBUILD}") from None
    except (OSError, ValueError) as error:
        raise BundleIntegrityError(f"{folder / MANIFEST} cannot be read ({error}): {_REBUILD}") from None
    if not isinstance(content, dict) or "schema_version" not in content:
        raise BundleIntegrityError(f"{folder / MANIFEST} is not a manifest of ssd-edge: {_REBUILD}")
    if content["schema_version"] != SCHEMA_VERSION:
        raise BundleCompatibilityError(
            f"{folder} is a bundle of schema version {content['schema_version']}, and this ssd-edge ({__version__}) "
            f"reads version {SCHEMA_VERSION}: {_REBUILD}"
        )
    if not _is_sealed(text, content.get(_SEAL)):
        raise BundleIntegrityError(f"{folder / MANIFEST} was altered after it was built: {_REBUILD}")
    try:
        manifest = Manifest(
            ModelSpec.from_json(content["spec"]),
            tuple(
                PlanEntry(
                    str(plan["backend"]),
                    str(plan["version"]),
                    str(plan["precision"]),
                    str(plan["machine"]),
                    tuple(_plain_name(name) for name in plan["files"]),
                    str(plan["onnx"]),
                    str(plan["onnx_sha256"]),
                    _texts(plan["provenance"]),
                    _texts(plan["facts"]),
                    _plain_name(plan["proof"]) if plan.get("proof") else "",
                )
                for plan in content["plans"]
            ),
            {_plain_name(name): str(value) for name, value in content["sha256"].items()},
            _texts(content["provenance"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError, SpecError) as error:
        raise BundleIntegrityError(f"{folder / MANIFEST} is not a manifest of ssd-edge ({error}): {_REBUILD}") from None
    for name in sorted({*manifest.sha256, *(name for plan in manifest.plans for name in _files_of(plan))}):
        path = folder / name
        if not path.is_file():
            raise BundleIntegrityError(f"{path} is missing from its bundle: {_REBUILD}")
        if sha256(path) != manifest.sha256.get(name):
            raise BundleIntegrityError(f"{path} was altered after it was built: {_REBUILD}")
    return manifest


def _texts(content: Any) -> dict[str, str]:
    return {str(key): str(value) for key, value in content.items()}


def _plain_name(name: object) -> str:
    """Check that a file name stays inside the bundle's folder, and return it."""
    text = str(name)
    if not text or text in {".", ".."} or PurePosixPath(text).name != text or "\\" in text:
        raise ValueError(f"file name {text!r} leads out of the bundle")
    return text


def load_bundle(folder: Path, note: Note = no_note) -> Engine:
    """Check a bundle and load the best of its plans that can run here.

    Args:
        folder: the bundle.
        note: called with a sentence for each better plan that was passed over, and on a first use elsewhere.

    Raises:
        BundleIntegrityError: the bundle is missing, altered or unreadable.
        BundleCompatibilityError: the bundle was made for another version or machine.
        BackendError: the runtime is not installed, or refused the plan.
        DisagreementError: the plan was built on another kind of processor, and gives wrong results on this one.
    """
    manifest = read_manifest(folder)
    reasons: list[str] = []
    for plan in sorted(manifest.plans, key=_rank):
        reason = incompatibility(plan)
        if reason is None:
            for passed_over in reasons:
                note(f"{folder}: {passed_over}; its {plan.backend} {plan.precision} plan runs")
            spec = replace(manifest.spec, provenance=plan.provenance)
            engine = get_backend(plan.backend).load(folder, plan, spec)
            try:
                _check_on_first_use(folder, plan, engine, note)
            except BaseException:
                engine.close()
                raise
            return engine
        reasons.append(f"its {plan.backend} {plan.precision} plan {reason}")
    source = manifest.plans[0].onnx if manifest.plans else manifest.provenance.get("onnx", "HEADS.onnx")
    raise BundleCompatibilityError(
        f"{folder} cannot run here: {'; '.join(reasons) or 'it holds no plan'}. "
        f"A plan for this machine: ssd-edge build-engine {source} --backend openvino --add --output {folder.name}"
    )


def _check_on_first_use(folder: Path, plan: PlanEntry, engine: Engine, note: Note) -> None:
    """Prove a plan once on a kind of processor other than the one that built it, and remember the success.

    Raises:
        DisagreementError: the engine does not find the detections in the proof on this processor.
    """
    here, there = instructions.kind(this_host()), plan.facts.get("cpu", "")
    if not there or there == here:
        return
    told = f"{folder} was built on another kind of processor ({there}; here {here})"
    if not plan.proof:
        note(f"{told}, and has no proof to be checked by: compare AP with ssd-edge eval, or build it again here")
        return
    mark = user_cache() / "proved" / hashlib.sha256((folder / MANIFEST).read_bytes() + here.encode()).hexdigest()
    if mark.exists():
        return
    proof = proof_of(folder, plan, engine.spec)
    if proof.counted == 0:
        note(f"{told}, and its proof shows nothing: compare AP with ssd-edge eval, or build it again here")
        return
    try:
        agreement = prove(engine, proof)
    except DisagreementError as error:
        raise DisagreementError(f"{told}: build it again here, from {plan.onnx}; {error}") from None
    note(f"{told}; its proof holds: {agreement.sentence()}")
    with suppress(OSError), written_whole(mark) as partial:  # without a writable cache it is proved again next time
        partial.write_text(agreement.sentence(), encoding="utf-8")


def incompatibility(plan: PlanEntry) -> str | None:
    """Explain why a plan cannot run here, in words that follow "its … plan"; None if it can run."""
    if plan.backend not in BACKENDS:
        return f"needs the backend {plan.backend!r}, which this ssd-edge ({__version__}) does not have"
    if plan.machine and plan.machine != platform.machine():
        return f"was built for {plan.machine}, and this machine is {platform.machine()}"
    try:
        return get_backend(plan.backend).incompatibility(plan)
    except BackendError as error:
        return f"cannot be loaded: {error}"
