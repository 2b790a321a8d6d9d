"""The bundle NAME.engine/: a manifest, the plan it describes, and the checks between a file and a running engine."""

from __future__ import annotations

import hashlib
import json
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any

from ssd_edge import __version__
from ssd_edge.engines.base import BACKENDS, Engine, get_backend
from ssd_edge.errors import BackendError, BundleCompatibilityError, BundleError, BundleIntegrityError, SpecError
from ssd_edge.files import replace_folder, sha256
from ssd_edge.spec import ModelSpec

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
_SEAL = "manifest_sha256"
_REBUILD = "build it again with ssd-edge build-engine"


@dataclass(frozen=True)
class PlanEntry:
    """One plan of a bundle; several may hold the same heads for different machines.

    Attributes:
        backend: a key of ``BACKENDS``.
        version: of the runtime that made it.
        precision: ``FP32``, ``FP16`` or ``INT8``.
        machine: processor architecture it was made for, as ``platform.machine()``; "" where it does not matter.
        files: its files, by the bundle's folder; the first is loaded.
    """

    backend: str
    version: str
    precision: str
    machine: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` says.

    Attributes:
        spec: the model.
        plans: what can run it.
        sha256: of each file, by name.
        provenance: where it came from: ONNX file, its SHA-256, versions, time.
    """

    spec: ModelSpec
    plans: tuple[PlanEntry, ...]
    sha256: Mapping[str, str]
    provenance: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """As plain values for ``json.dumps``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "spec": self.spec.to_json(),
            "plans": [asdict(plan) for plan in self.plans],
            "sha256": dict(self.sha256),
            "provenance": dict(self.provenance),
        }


def build_bundle(onnx: Path, output: Path, backend_name: str) -> Manifest:
    """Compile heads into a bundle; an existing bundle of that name is replaced once the new one is whole.

    Args:
        onnx: heads with a spec in their metadata.
        output: the folder to make; its name ends in ``.engine``.
        backend_name: a key of ``BACKENDS``.

    Raises:
        BundleError: ``output`` is something other than a bundle.
        BackendError: the runtime refused the heads.
        ModelError, SpecError: the ONNX file is not heads of ssd-edge.
    """
    from ssd_edge.engines.onnxruntime import read_spec

    if output.suffix != ".engine":
        raise BundleError(f"a bundle's name ends in .engine, but got {output.name}: try {output.name}.engine")
    if output.exists() and not (output / MANIFEST).is_file():
        raise BundleError(f"{output} exists and is no bundle: choose another name, or remove it")
    backend = get_backend(backend_name)
    spec = read_spec(onnx)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as scratch:
        folder = Path(scratch) / "bundle"
        folder.mkdir()
        plan = backend.build(onnx, spec, folder)
        entry = PlanEntry(backend_name, plan.version, plan.precision, platform.machine(), plan.files)
        manifest = Manifest(
            spec,
            (entry,),
            {name: sha256(folder / name) for name in plan.files},
            {
                "onnx": onnx.name,
                "onnx_sha256": sha256(onnx),
                "ssd_edge": __version__,
                "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "made_on": platform.platform(),
            },
        )
        (folder / MANIFEST).write_bytes(_sealed(manifest))
        replace_folder(folder, output)
    return manifest


def _sealed(manifest: Manifest) -> bytes:
    """The manifest's text with its own SHA-256 in it: that of the text in which the sum is still empty."""
    text = json.dumps({_SEAL: "", **manifest.to_json()}, indent=2) + "\n"
    return text.replace('""', f'"{hashlib.sha256(text.encode()).hexdigest()}"', 1).encode()


def _is_sealed(text: bytes, seal: object) -> bool:
    return hashlib.sha256(text.replace(f'"{seal}"'.encode(), b'""', 1)).hexdigest() == seal


def read_manifest(folder: Path) -> Manifest:
    """A bundle's manifest, with every file compared with its checksum.

    Raises:
        BundleIntegrityError: no bundle, or a file is missing, altered or unreadable.
        BundleCompatibilityError: of another schema version.
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
                )
                for plan in content["plans"]
            ),
            {_plain_name(name): str(value) for name, value in content["sha256"].items()},
            {str(key): str(value) for key, value in content["provenance"].items()},
        )
    except (KeyError, TypeError, AttributeError, ValueError, SpecError) as error:
        raise BundleIntegrityError(f"{folder / MANIFEST} is not a manifest of ssd-edge ({error}): {_REBUILD}") from None
    for name in sorted({*manifest.sha256, *(name for plan in manifest.plans for name in plan.files)}):
        path = folder / name
        if not path.is_file():
            raise BundleIntegrityError(f"{path} is missing from its bundle: {_REBUILD}")
        if sha256(path) != manifest.sha256.get(name):
            raise BundleIntegrityError(f"{path} was altered after it was built: {_REBUILD}")
    return manifest


def _plain_name(name: object) -> str:
    """A file name that cannot lead out of the bundle's folder."""
    text = str(name)
    if not text or text in {".", ".."} or PurePosixPath(text).name != text or "\\" in text:
        raise ValueError(f"file name {text!r} leads out of the bundle")
    return text


def load_bundle(folder: Path) -> Engine:
    """The engine of a bundle that can run here, checked first; the first plan that fits is taken.

    Raises:
        BundleIntegrityError: missing, altered or unreadable.
        BundleCompatibilityError: made for another version or machine.
        BackendError: the runtime is not installed, or refused the plan.
    """
    manifest = read_manifest(folder)
    reasons = []
    for plan in manifest.plans:
        reason = _incompatibility(plan)
        if reason is None:
            return get_backend(plan.backend).load(folder, plan.files, manifest.spec, plan.precision)
        reasons.append(f"its {plan.backend} {plan.precision} plan {reason}")
    source = manifest.provenance.get("onnx", "HEADS.onnx")
    raise BundleCompatibilityError(
        f"{folder} cannot run here: {'; '.join(reasons) or 'it holds no plan'}. "
        f"Run on this machine: ssd-edge build-engine {source} --output {folder.name}"
    )


def _incompatibility(plan: PlanEntry) -> str | None:
    if plan.backend not in BACKENDS:
        return f"needs the backend {plan.backend!r}, which this ssd-edge ({__version__}) does not have"
    if plan.machine and plan.machine != platform.machine():
        return f"was built for {plan.machine}, and this machine is {platform.machine()}"
    try:
        return get_backend(plan.backend).incompatibility(plan.version)
    except BackendError as error:
        return f"cannot be loaded: {error}"
