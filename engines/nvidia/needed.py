"""What a build with one of NVIDIA's compilers needs beside the driver."""

from __future__ import annotations

from importlib.util import find_spec

from ssd_edge.machine.gpu_packages import missing


def needed(version: str | None, library: str, backend: str) -> str:
    """Return the compiler's version if it and the package ``onnx`` are installed.

    Args:
        version: the installed version; None if there is none.
        library: the compiler's name for people.
        backend: the backend that is built for.

    Raises:
        MissingDependencyError: one of them is not installed.
    """
    if version is None:
        raise missing(library, f"building for {backend}")
    if find_spec("onnx") is None:
        raise missing("onnx", f"building for {backend}")
    return version
