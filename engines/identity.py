"""Say which engine runs, so that a recording tells later what made it."""

from __future__ import annotations

from pathlib import Path

from ssd_edge import __version__
from ssd_edge.detector import Engine
from ssd_edge.engines.bundle.manifest import read_manifest
from ssd_edge.files import sha256
from ssd_edge.machine import instructions
from ssd_edge.machine.host import this_host
from ssd_edge.replay.schema import Identity


def identity_of(path: Path, engine: Engine) -> Identity:
    """Describe an engine that ``open_model`` returned.

    Args:
        path: the file or folder that it opened.
        engine: the engine.

    Raises:
        BundleError: the bundle has been damaged since.
        OSError: the file cannot be read any more.
    """
    version, hashes = "", {}
    if path.is_dir():
        manifest = read_manifest(path)
        plan = next(plan for plan in manifest.plans if plan.backend == engine.backend)
        version = plan.version
        hashes = {name: digest for name, digest in manifest.sha256.items() if name in plan.files}
        hashes[plan.onnx] = plan.onnx_sha256
    else:
        hashes = {path.name: sha256(path)}
    return Identity(
        model=path.resolve().name,
        backend=engine.backend,
        precision=engine.precision,
        version=version,
        sha256=hashes,
        ssd_edge=__version__,
        machine=instructions.kind(this_host()),
        spec=engine.spec.to_json(),
    )


def differences(recorded: Identity, now: Identity) -> list[str]:
    """Name what differs between the engine of a recording and another; empty if nothing does."""
    found = [
        f"{name} {was or 'unknown'}, now {present or 'unknown'}"
        for name, was, present in (
            ("backend", recorded.backend, now.backend),
            ("precision", recorded.precision, now.precision),
            ("runtime's version", recorded.version, now.version),
            ("ssd-edge", recorded.ssd_edge, now.ssd_edge),
            ("processor", recorded.machine, now.machine),
        )
        if was != present
    ]
    if set(recorded.sha256.values()) != set(now.sha256.values()):
        found.insert(0, f"the model's files: {recorded.model}, now {now.model}")
    keys = sorted(key for key in {*recorded.spec, *now.spec} - {"provenance"} if _differ(recorded, now, key))
    return found + ([f"the spec's {', '.join(keys)}"] if keys else [])


def _differ(recorded: Identity, now: Identity, key: str) -> bool:
    return _plain(recorded.spec.get(key)) != _plain(now.spec.get(key))


def _plain(value: object) -> object:
    """Turn tuples into lists, which is what a recording gives back."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
