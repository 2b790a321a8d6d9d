"""What a service runs: its file, read and checked as far as that needs no camera, no model and no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssd_edge.stream.buffers import NEWEST, BufferPolicy
from ssd_edge.stream.camera_mode import CameraMode
from ssd_edge.swap.contract import Contract
from ssd_edge.web.address import Address


@dataclass(frozen=True)
class OutputConfig:
    """One output of one camera.

    Attributes:
        kind: a key of ``outputs.catalogue.SINKS``, or ``record`` for a recording of frames as they arrived.
        target: the file, folder or address that it writes.
        settings: its further settings by name; sizes in bytes, times in seconds.
    """

    kind: str
    target: str = field(repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class CameraConfig:
    """One camera; equal ones need not be started again when the file is read anew.

    Attributes:
        name: its name in reports, metrics, logs and outputs.
        source: what ``open_source`` takes; it may hold a password.
        mode: what is asked of the camera.
        capture: a key of ``stream.ways.WAYS``.
        max_age: seconds; None for no limit.
        buffer: which frames wait.
        watch: content of a watch file; None to follow nothing.
        watch_file: the file of ``watch``; None if that stands in the service's own file, or nothing is followed.
        watch_as_written: whether ``watch`` stands so in its file, and names no variable of the environment.
        min_score: score threshold for all classes; None for each class's own.
        outputs: its outputs.
    """

    name: str
    source: str = field(repr=False)
    mode: CameraMode = field(default_factory=CameraMode)
    capture: str = "auto"
    max_age: float | None = None
    buffer: BufferPolicy = NEWEST
    watch: Mapping[str, Any] | None = None
    watch_file: Path | None = None
    watch_as_written: bool = True
    min_score: float | None = None
    outputs: tuple[OutputConfig, ...] = ()

    @property
    def record(self) -> OutputConfig | None:
        """How its frames are recorded as they arrive; None if they are not."""
        return next((output for output in self.outputs if output.kind == "record"), None)


@dataclass(frozen=True)
class DiskConfig:
    """Room for recordings, in bytes; see ``outputs.space.Space``.

    Attributes:
        quota: most that all recordings may take; None for no limit.
        free: what stays free on each disk; None for the usual.
    """

    quota: int | None = None
    free: int | None = None


@dataclass(frozen=True)
class PageConfig:
    """Where the live page is served, and to whom.

    Attributes:
        address: where.
        token: what a visitor has to know.
        token_file: the file that holds it instead; without either, everybody on this machine sees the page.
    """

    address: Address
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None


@dataclass(frozen=True)
class ServiceConfig:
    """A service's file.

    Attributes:
        path: the file.
        model: the engine.
        cameras: the cameras, in the order of the file.
        metrics: where ``/metrics`` and ``/healthz`` are served; None for nowhere.
        log: a key of ``log.FORMS``.
        unhealthy_after: seconds without results after which a camera is not healthy.
        disk: room for recordings.
        degrade: what live cameras may lose in need: ``off``, ``skip`` (frames) or ``engine`` (and accuracy).
        fallback: the smaller engine; None for a plan in fewer bits of the model's bundle.
        contract: what an engine must keep to that is to take over.
        watch_models: whether a newer engine in the folder ``model`` is tried by itself.
        page: the live page; None for none.
    """

    path: Path
    model: Path
    cameras: tuple[CameraConfig, ...]
    metrics: Address | None = None
    log: str = "text"
    unhealthy_after: float = 10.0
    disk: DiskConfig = DiskConfig()
    degrade: str = "skip"
    fallback: Path | None = None
    contract: Contract = field(default_factory=Contract)
    watch_models: bool = False
    page: PageConfig | None = None

    @property
    def records(self) -> bool:
        """Whether a camera's frames are recorded as they arrive."""
        return any(camera.record for camera in self.cameras)


@dataclass
class InForce:
    """The content of a service's file that is in force.

    Attributes:
        config: it; another one once the file was read again.
    """

    config: ServiceConfig

    def __call__(self) -> ServiceConfig:
        """Return it."""
        return self.config
