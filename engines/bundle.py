"""The bundle NAME.engine/: a manifest, the plan it describes, and the checks between a file and a running engine."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any

from ssd_edge import __version__
from ssd_edge.engines.base import BACKENDS, Engine, get_backend
from ssd_edge.errors import BundleCompatibilityError, BundleError, BundleIntegrityError, SpecError
from ssd_edge.files import sha256
from ssd_edge.spec import ModelSpec

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"


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
        (folder / MANIFEST).write_text(json.dumps(manifest.to_json(), indent=2) + "\n")
        if output.exists():
            os.replace(output, Path(scratch) / "previous")
        os.replace(folder, output)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """A bundle's manifest, with every file compared with its checksum.

    Raises:
        BundleIntegrityError: no bundle, or a file is missing, altered or unreadable.
        BundleCompatibilityError: of another schema version.
    """
    rebuild = "build it again with ssd-edge build-engine"
    try:
        content = json.loads((folder / MANIFEST).read_text())
    except FileNotFoundError:
        what = "has no manifest.json" if folder.is_dir() else "is not there"
        raise BundleIntegrityError(f"{folder} {what}, so it is no engine bundle: {rebuild}") from None
    except (OSError, ValueError) as error:
        raise BundleIntegrityError(f"{folder / MANIFEST} cannot be read ({error}): {rebuild}") from None
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise BundleCompatibilityError(
            f"{folder} is a bundle of schema version {version}, and this ssd-edge ({__version__}) reads "
            f"version {SCHEMA_VERSION}: {rebuild}"
        )
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
        raise BundleIntegrityError(f"{folder / MANIFEST} is not a manifest of ssd-edge ({error}): {rebuild}") from None
    for name in sorted({*manifest.sha256, *(name for plan in manifest.plans for name in plan.files)}):
        path = folder / name
        if not path.is_file():
            raise BundleIntegrityError(f"{path} is missing from its bundle: {rebuild}")
        if sha256(path) != manifest.sha256.get(name):
            raise BundleIntegrityError(f"{path} was altered after it was built: {rebuild}")
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
    return get_backend(plan.backend).incompatibility(plan.version)
