"""Check the free disk space for bundles and caches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ssd_edge.machine.finding import Finding, Remedy
from ssd_edge.machine.host import Host
from ssd_edge.machine.processor import GIB

_LITTLE, _TOO_LITTLE = 5 * GIB, GIB
"""PyTorch and its libraries take several GiB; an SSD512 in all its forms takes about one."""


def probe(host: Host) -> list[Finding]:
    """See ``examine.PROBES``."""
    return [_finding(host, "this folder", host.folder), _finding(host, "caches", caches(host.environment, host.home))]


def caches(environment: Mapping[str, str], home: Path) -> Path:
    """Return the folder for caches of compiled kernels and of what TensorRT compiles on a GPU."""
    return Path(environment.get("XDG_CACHE_HOME") or home / ".cache") / "ssd-edge"


def _finding(host: Host, name: str, path: Path) -> Finding:
    try:
        space = host.space(path)
    except OSError as error:
        return Finding(name, f"{path}: {error.strerror}", "unknown")
    value = f"{space.free / GIB:.1f} of {space.total / GIB:.1f} GiB free in {path}"
    facts = {"path": str(path), "total": space.total, "free": space.free, "writable": space.writable}
    if space.free < _TOO_LITTLE:
        return Finding(name, value, "problem", Remedy("make room: less than 1 GiB is left"), facts)
    if not space.writable:
        remedy = Remedy("choose another with --output, or XDG_CACHE_HOME for caches")
        return Finding(name, f"{value}, which you cannot write to", "note", remedy, facts)
    if space.free < _LITTLE:
        return Finding(name, value, "note", Remedy("make room: training and its libraries need more than 5 GiB"), facts)
    return Finding(name, value, facts=facts)
