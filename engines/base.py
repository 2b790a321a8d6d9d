"""What an engine is, and the backends by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from ssd_edge.detector import Heads
from ssd_edge.errors import BackendError
from ssd_edge.spec import ModelSpec


@dataclass(frozen=True)
class Plan:
    """What a backend made of an ONNX file.

    Attributes:
        files: names of the files written into the bundle's folder; the first is what is loaded.
        version: of the runtime that made them.
        precision: of most of the arithmetic: ``FP32``, ``FP16`` or ``INT8``.
    """

    files: tuple[str, ...]
    version: str
    precision: str


class Engine(Heads, Protocol):
    """Heads that hold native resources."""

    backend: str
    precision: str

    def close(self) -> None:
        """Release what is held; nothing may be submitted afterwards."""


class Backend(Protocol):
    """One small module: how to build, load and check."""

    NAME: str
    ABOUT: str

    def build(self, onnx: Path, spec: ModelSpec, folder: Path) -> Plan:
        """Compile heads into ``folder``.

        Raises:
            BackendError: the runtime refused the file.
            MissingDependencyError: the runtime is not installed.
        """

    def load(self, folder: Path, files: Sequence[str], spec: ModelSpec, precision: str) -> Engine:
        """The engine of a checked bundle.

        Raises:
            BackendError: the runtime refused the plan.
            MissingDependencyError: the runtime is not installed.
        """

    def incompatibility(self, version: str) -> str | None:
        """Why a plan made by ``version`` of the runtime cannot run here; None where it can."""


def _backend(module: str) -> Callable[[], Backend]:
    return lambda: cast(Backend, import_module(module))


BACKENDS: dict[str, Callable[[], Backend]] = {
    "openvino": _backend("ssd_edge.engines.openvino"),
    "onnxruntime": _backend("ssd_edge.engines.onnxruntime"),
}
"""By name; each is imported when it is asked for."""


def get_backend(name: str) -> Backend:
    """A backend by name.

    Raises:
        BackendError: there is none of that name, or its runtime is not installed.
    """
    if name not in BACKENDS:
        raise BackendError(f"no backend is called {name!r}; there are {', '.join(BACKENDS)}")
    try:
        return BACKENDS[name]()
    except ModuleNotFoundError as error:
        package = error.name
        raise BackendError(f"backend {name} needs {package}, which is not installed: pip install {package}") from None
