"""Where the Python API of TensorRT 10.3 and that of 11 differ, for code that must run over both.

Each function takes the module ``tensorrt``, or an object of it, and asks what is there rather than which release it is.
"""

from __future__ import annotations

from typing import Any

from ssd_edge.errors import BackendError

OLDEST = (10, 3)  # JetPack 6.1


def check_release(tensorrt: Any) -> tuple[int, int]:
    """The release as (major, minor).

    Raises:
        BackendError: it is older than 10.3.
    """
    return release_of(tensorrt.__version__)


def release_of(version: str) -> tuple[int, int]:
    """(10, 3) of 10.3.0.30.

    Raises:
        BackendError: it is older than 10.3.
    """
    major, minor = (int(part) for part in version.split(".")[:2])
    if (major, minor) < OLDEST:
        raise BackendError(f"TensorRT {version} is too old: {'.'.join(map(str, OLDEST))} or later is needed")
    return major, minor


def strongly_typed(tensorrt: Any) -> int:
    """The flags for ``Builder.create_network``: the types in the model are the types that are run.

    In 10 a network is weakly typed without this flag; 11 keeps the flag, and has no flags of precision.
    Its number is not the same in both.
    """
    return 1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def device_memory_bytes(engine: Any) -> int:
    """What an engine's activations take on the device: ``device_memory_size`` is gone in 11."""
    return int(engine.device_memory_size_v2)


LEVELS = {"ampere-plus": "AMPERE_PLUS", "same-compute-capability": "SAME_COMPUTE_CAPABILITY"}
"""Names of ``HardwareCompatibilityLevel``; the second is not in the oldest releases."""


def hardware_compatibility(tensorrt: Any, name: str) -> Any:
    """The level of a key of ``LEVELS``.

    Raises:
        BackendError: there is none of that name, or not in this release.
    """
    if name not in LEVELS:
        raise BackendError(f"hardware compatibility is {' or '.join(LEVELS)}, but got {name!r}")
    level = getattr(tensorrt.HardwareCompatibilityLevel, LEVELS[name], None)
    if level is None:
        raise BackendError(f"TensorRT {tensorrt.__version__} has no hardware compatibility {name}: use ampere-plus")
    return level
