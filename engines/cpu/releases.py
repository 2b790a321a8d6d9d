"""Compare the release of a runtime that built a plan with the one that is installed."""

from __future__ import annotations

import platform

_LAST = {("onnxruntime", "3.10"): "1.23.2"}
"""The last release of a package for a Python version that later releases do not support."""


def newer_than_installed(name: str, package: str, made_by: str, installed: str) -> str | None:
    """Say why a plan built by a later release than the installed one cannot run; None where it can."""
    if _release(made_by) <= _release(installed):
        return None
    built = f"was built by {name} {made_by}, and {installed} is installed"
    python = ".".join(platform.python_version_tuple()[:2])
    last = _LAST.get((package, python))
    if last is not None and _release(last) < _release(made_by):
        return f"{built} (the last for Python {python} is {last}: build it again here, with --backend {package})"
    return f"{built} (pip install '{package}>={made_by}')"


def _release(version: str) -> tuple[int, ...]:
    numbers = []
    for part in version.split(".")[:2]:
        digits = "".join(c for c in part if c.isdigit())
        numbers.append(int(digits) if digits else 0)
    return tuple(numbers)
