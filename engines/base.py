"""Interfaces of engines, plans and backends, and the table of backends by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Protocol

from ssd_edge.detector import Engine
from ssd_edge.progress import Progress
from ssd_edge.spec import ModelSpec


@dataclass(frozen=True)
class BuildOptions:
    """Options for a backend that compiles; each backend takes the ones named in its ``OPTIONS``.

    Attributes:
        precision: ``FP32``, ``FP16`` or ``INT8``; None lets the backend choose by the heads.
        compute_capabilities: compute capabilities of the GPUs to build for, such as ``8.6``; if empty, the backend
            chooses.
        decode: one of ``plugins.forms.FORMS``; None for the best form that the release supports.
        workspace_mib: memory that a layer may use while it runs; 0 for no limit.
        optimisation_level: how long the builder searches, 0 … 5; None for the builder's default.
        version_compatible: whether later releases of the same major version must be able to run the plan.
        hardware_compatible: a key of ``versions.LEVELS``; None for this GPU alone.
        dla_core: number of a deep learning accelerator (DLA); None for the GPU.
        strict: whether a convolution of another precision than asked for, or a layer that the DLA cannot run, is an
            error; otherwise the one is noted in the plan's facts, and the other runs on the GPU.
        max_batch: largest batch of the plan; its engine takes every batch from 1 up to it.
        timing_cache: a timing cache of other builds, used where the bundle has none of its own; None for none.
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
    timing_cache: Path | None = None

    @property
    def asked(self) -> frozenset[str]:
        """Names of the options that differ from their defaults."""
        return frozenset(field.name for field in fields(self) if getattr(self, field.name) != field.default)


@dataclass(frozen=True)
class Plan:
    """The result of a backend's build from an ONNX file.

    Attributes:
        files: names of the files written into the bundle's folder; the first one is loaded.
        version: version of the runtime that made them.
        precision: precision of most of the arithmetic: ``FP32``, ``FP16`` or ``INT8``.
        facts: further details of the build, for people and for the backend's own ``incompatibility``.
    """

    files: tuple[str, ...]
    version: str
    precision: str
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PlanEntry:
    """One plan of a bundle; several plans may hold the same heads for different machines.

    Attributes:
        backend: a key of ``BACKENDS``.
        version: version of the runtime that made it.
        precision: ``FP32``, ``FP16`` or ``INT8``.
        machine: processor family it was made for, as ``platform.machine()`` gives it; "" if it runs on any.
        files: names of its files in the bundle's folder; the first one is loaded.
        onnx: name of the ONNX file that it was built from.
        onnx_sha256: SHA-256 of that file.
        provenance: provenance in the spec of that file; for INT8 heads it describes their calibration.
        facts: see ``Plan``.
        proof: name of the file with the proof of its heads, see ``ssd_edge.proof``; "" if they have none.
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


class Backend(Protocol):
    """A module that builds, loads and checks the plans of one runtime.

    Attributes:
        NAME: its key in ``BACKENDS``.
        OPTIONS: names of the ``BuildOptions`` that ``build`` reads.
        ANY_PROCESSOR: whether a plan made on one family of processors, such as x86-64, runs on another.
        CARRIED: names of files that are copied from an existing bundle of the same name into the folder before the
            next build.
    """

    NAME: str
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
        """Load a plan that can run on this machine.

        Args:
            folder: the bundle, with its files checked.
            plan: a plan of this backend; ``incompatibility`` has returned None for it.
            spec: the spec of its heads.

        Raises:
            BackendError: the runtime refused the plan.
            MissingDependencyError: the runtime is not installed.
        """

    def incompatibility(self, plan: PlanEntry) -> str | None:
        """Explain why a plan cannot run here, in words that follow "its … plan"; None if it can run."""
