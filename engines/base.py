"""What an engine is, what a plan is, and the backends by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from ssd_edge.detector import Heads
from ssd_edge.errors import BackendError
from ssd_edge.spec import ModelSpec

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


@dataclass(frozen=True)
class BuildOptions:
    """What may be asked of a backend that compiles for GPUs; each takes those that its ``OPTIONS`` name.

    Attributes:
        precision: ``FP32``, ``FP16`` or ``INT8``; None for the backend's own choice by the heads.
        compute_capabilities: of the GPUs to build for, as ``8.6``; none for the backend's own choice.
        decode: one of ``plugins.forms.FORMS``; None for the best of the release.
        workspace_mib: memory that a layer may use while it runs; 0 for all there is.
        optimisation_level: 0 … 5, how long the builder searches; None for its own choice.
        version_compatible: whether later releases of the same major shall run the plan.
        hardware_compatible: a key of ``versions.LEVELS``; None for this GPU alone.
        dla_core: number of a deep learning accelerator; None for the GPU.
        strict: whether a layer that the DLA cannot run is an error, and not the GPU's.
        max_batch: largest batch of a plan; its engine takes each from 1.
    """

    precision: str | None = None
    compute_capabilities: tuple[str, ...] = ()
    decode: str | None = None
    workspace_mib: int = 0
    optimisation_level: int | None = None
    version_compatible: bool = False
    hardware_compatible: str | None = None
    dla_core: int | None = None
    strict: bool = False
    max_batch: int = 1

    @property
    def asked(self) -> frozenset[str]:
        """Names of those that are not as they come."""
        return frozenset(field.name for field in fields(self) if getattr(self, field.name) != field.default)


@dataclass(frozen=True)
class Plan:
    """What a backend made of an ONNX file.

    Attributes:
        files: names of the files written into the bundle's folder; the first is what is loaded.
        version: of the runtime that made them.
        precision: of most of the arithmetic: ``FP32``, ``FP16`` or ``INT8``.
        facts: what else the backend found out, for people and for its own ``incompatibility``.
    """

    files: tuple[str, ...]
    version: str
    precision: str
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PlanEntry:
    """One plan of a bundle; several may hold the same heads for different machines.

    Attributes:
        backend: a key of ``BACKENDS``.
        version: of the runtime that made it.
        precision: ``FP32``, ``FP16`` or ``INT8``.
        machine: processor family it was made for, as ``platform.machine()``; "" where it runs on any.
        files: its files, by the bundle's folder; the first is loaded.
        onnx: name of the ONNX file that it was built from.
        onnx_sha256: of that file.
        provenance: in the spec of that file: what INT8 heads say of their calibration, others do not.
        facts: see ``Plan``.
        proof: name of the file with the proof of its heads, see ``ssd_edge.proof``; "" where they have none.
    """

    backend: str
    version: str
    precision: str
    machine: str
    files: tuple[str, ...]
    onnx: str
    onnx_sha256: str
    provenance: Mapping[str, str]
    facts: Mapping[str, str]
    proof: str = ""


class Engine(Heads, Protocol):
    """Heads that hold native resources."""

    backend: str
    precision: str

    def close(self) -> None:
        """Release what is held; nothing may be submitted afterwards."""


class Backend(Protocol):
    """One small module: how to build, load and check.

    Attributes:
        NAME: its key in ``BACKENDS``.
        ABOUT: a line for people.
        OPTIONS: names of the ``BuildOptions`` that ``build`` looks at.
        ANY_PROCESSOR: whether a plan made on one family of processors, such as x86-64, runs on another.
        CARRIED: names of files that a bundle of the same name may have from an earlier build, and that are copied into
            the folder before the next one.
    """

    NAME: str
    ABOUT: str
    OPTIONS: frozenset[str]
    ANY_PROCESSOR: bool
    CARRIED: tuple[str, ...]

    def build(self, onnx: Path, spec: ModelSpec, folder: Path, options: BuildOptions, progress: Progress) -> Plan:
        """Compile heads into ``folder``.

        Raises:
            BackendError: the runtime refused the file, or cannot do what the options ask for.
            MissingDependencyError: the runtime is not installed.
        """

    def load(self, folder: Path, plan: PlanEntry, spec: ModelSpec) -> Engine:
        """The engine of a plan that can run here.

        Args:
            folder: the bundle, with its files checked.
            plan: of this backend; ``incompatibility`` has found nothing against it.
            spec: of its heads.

        Raises:
            BackendError: the runtime refused the plan.
            MissingDependencyError: the runtime is not installed.
        """

    def incompatibility(self, plan: PlanEntry) -> str | None:
        """Why a plan cannot run here, in words that follow "its … plan"; None where it can."""


def _backend(module: str) -> Callable[[], Backend]:
    return lambda: cast(Backend, import_module(module))


BACKENDS: dict[str, Callable[[], Backend]] = {
    "tensorrt": _backend("ssd_edge.engines.tensorrt.backend"),
    "tensorrt-rtx": _backend("ssd_edge.engines.tensorrt_rtx.backend"),
    "openvino": _backend("ssd_edge.engines.openvino"),
    "onnxruntime": _backend("ssd_edge.engines.onnxruntime"),
}
"""By name, best first: of a bundle's plans that can run on a machine, the first in this order does. Each is imported
when it is asked for."""


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
