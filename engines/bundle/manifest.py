"""The manifest of a bundle: its plans, their files and checksums."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ssd_edge import __version__
from ssd_edge.engines.backends import BACKENDS
from ssd_edge.engines.base import PlanEntry
from ssd_edge.engines.bundle.lock import locked, read_steadily
from ssd_edge.errors import BundleCompatibilityError, BundleIntegrityError, SpecError
from ssd_edge.files import sha256, written_whole
from ssd_edge.parsing import parse_json
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


def read_manifest(folder: Path) -> Manifest:
    """Read a bundle's manifest and compare every file with its checksum.

    Raises:
        BundleIntegrityError: the folder is not a bundle, or a file is missing, altered or unreadable.
        BundleCompatibilityError: the bundle has another schema version.
    """
    return read_steadily(folder, lambda: _checked(folder))


def _refuse_folder_of_bundles(folder: Path) -> None:
    inside = min(folder.glob(f"*/{MANIFEST}"), default=None)
    if inside is not None:
        raise BundleIntegrityError(
            f"{folder} is a folder of engine bundles: name one of them, such as {inside.parent}; in the file of a "
            "service, model may be the folder"
        )


def _checked(folder: Path) -> Manifest:
    try:
        text = (folder / MANIFEST).read_bytes()
        content = parse_json(text)
    except (FileNotFoundError, NotADirectoryError):
        _refuse_folder_of_bundles(folder)
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
    manifest = _parsed(folder, content)
    for name in sorted({*manifest.sha256, *(name for plan in manifest.plans for name in files_of(plan))}):
        path = folder / name
        if not path.is_file():
            raise BundleIntegrityError(f"{path} is missing from its bundle: {_REBUILD}")
        if sha256(path) != manifest.sha256.get(name):
            raise BundleIntegrityError(f"{path} was altered after it was built: {_REBUILD}")
    return manifest


def _parsed(folder: Path, content: Mapping[str, Any]) -> Manifest:
    try:
        return Manifest(
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
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError, SpecError) as error:
        raise BundleIntegrityError(f"{folder / MANIFEST} is not a manifest of ssd-edge ({error}): {_REBUILD}") from None


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write a bundle's manifest, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    with written_whole(folder / MANIFEST) as partial:
        partial.write_bytes(_sealed(manifest))


def change_spec(folder: Path, change: Callable[[ModelSpec], ModelSpec]) -> None:
    """Change the spec in a bundle's manifest; the plans stay.

    Args:
        folder: the bundle.
        change: makes the new spec from the present one.

    Raises:
        BundleIntegrityError: the folder is not a bundle, or it is damaged.
        BundleCompatibilityError: the bundle has another schema version.
        OSError: it cannot be written.
    """
    with locked(folder):
        manifest = read_manifest(folder)
        write_manifest(replace(manifest, spec=change(manifest.spec)), folder)


def files_of(plan: PlanEntry) -> tuple[str, ...]:
    """Names of all files of a plan in the bundle's folder, including its proof."""
    return (*plan.files, plan.proof) if plan.proof else plan.files


def rank(plan: PlanEntry) -> int:
    """Rank of a plan for sorting; the best plan has the lowest."""
    order = list(BACKENDS)
    return order.index(plan.backend) if plan.backend in order else len(order)


def _sealed(manifest: Manifest) -> bytes:
    """Encode the manifest with its own SHA-256, which is computed while that field is still empty."""
    text = json.dumps({_SEAL: "", **manifest.to_json()}, indent=2) + "\n"
    return text.replace('""', f'"{hashlib.sha256(text.encode()).hexdigest()}"', 1).encode()


def _is_sealed(text: bytes, seal: object) -> bool:
    return hashlib.sha256(text.replace(f'"{seal}"'.encode(), b'""', 1)).hexdigest() == seal


def _texts(content: Any) -> dict[str, str]:
    return {str(key): str(value) for key, value in content.items()}


def _plain_name(name: object) -> str:
    """Check that a file name stays inside the bundle's folder, and return it."""
    text = str(name)
    if not text or text in {".", ".."} or PurePosixPath(text).name != text or "\\" in text:
        raise ValueError(f"file name {text!r} leads out of the bundle")
    return text
