"""Differences between the Python APIs of TensorRT 10.3 and 11, for code that must run with both.

Each function takes the module ``tensorrt``, or an object of it, and tests for features rather than for releases.
"""

from __future__ import annotations

from typing import Any

from ssd_edge.errors import BackendError

OLDEST = (10, 3)  # JetPack 6.1


def check_release(tensorrt: Any) -> tuple[int, int]:
    """Return the installed release as (major, minor).

    Raises:
        BackendError: it is older than 10.3.
    """
    return release_of(tensorrt.__version__)


def release_of(version: str) -> tuple[int, int]:
    """Parse a version such as 10.3.0.30 to (10, 3).

    Raises:
        BackendError: it is older than 10.3.
    """
    major, minor = (int(part) for part in version.split(".")[:2])
    if (major, minor) < OLDEST:
        raise BackendError(f"TensorRT {version} is too old: {'.'.join(map(str, OLDEST))} or later is needed")
    return major, minor


def strongly_typed(tensorrt: Any) -> int:
    """Return the flags for ``Builder.create_network`` that make a plan run in the types of its model.

    In 10 a network is weakly typed without this flag; 11 keeps the flag, and has no precision flags.
    The flag's number differs between the two.
    """
    return 1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def device_memory_bytes(engine: Any) -> int:
    """Return the device memory of an engine's activations: ``device_memory_size`` is gone in 11."""
    return int(engine.device_memory_size_v2)


LEVELS = {"ampere-plus": "AMPERE_PLUS", "same-compute-capability": "SAME_COMPUTE_CAPABILITY"}
"""Members of ``HardwareCompatibilityLevel`` by option value; the oldest releases lack the second."""


def hardware_compatibility(tensorrt: Any, name: str) -> Any:
    """Return TensorRT's level for a key of ``LEVELS``.

    Raises:
        BackendError: no level has that name, or this release lacks it.
    """
    if name not in LEVELS:
        raise BackendError(f"hardware compatibility must be {' or '.join(LEVELS)}, but got {name!r}")
    level = getattr(tensorrt.HardwareCompatibilityLevel, LEVELS[name], None)
    if level is None:
        raise BackendError(f"TensorRT {tensorrt.__version__} has no hardware compatibility {name}: use ampere-plus")
    return level
