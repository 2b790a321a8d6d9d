"""What changes from one content of a service's file to the next."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ssd_edge.service.config import CameraConfig, ServiceConfig

RESTART = ("metrics", "page", "log", "disk", "degrade", "fallback")
"""Settings that only a restart changes."""


@dataclass(frozen=True)
class Changes:
    """Cameras to close and to open, and what else changed.

    Attributes:
        closed: names of cameras that go, or are opened anew in another way.
        opened: the cameras that come, or come anew.
        kept: names of the cameras that go on as they are.
        model: whether the model is another one.
        at_restart: settings that changed, and that only a restart changes.
    """

    closed: tuple[str, ...]
    opened: tuple[CameraConfig, ...]
    kept: tuple[str, ...]
    model: bool
    at_restart: tuple[str, ...]

    def sentence(self) -> str:
        """Say what changes."""
        anew = [camera.name for camera in self.opened if camera.name in self.closed]
        new = [camera.name for camera in self.opened if camera.name not in self.closed]
        gone = [name for name in self.closed if name not in anew]
        parts = [
            f"{what} {', '.join(names)}" for what, names in (("new", new), ("changed", anew), ("gone", gone)) if names
        ]
        parts += ["another model"] * self.model
        return "; ".join(parts) or "nothing changed"

    def restarts(self) -> list[str]:
        """Say of each setting that only a restart changes that it changed."""
        return [f"{name} was changed in the file: restart the service to have it so" for name in self.at_restart]


def changes_between(
    old: ServiceConfig, new: ServiceConfig, model: bool = False, scores: bool = False, detector: bool = False
) -> Changes:
    """Compare two contents of a file.

    Args:
        old: what runs.
        new: what is wanted.
        model: whether the model is another one, by its name or its content.
        scores: whether it has other scores for its classes, so that cameras without a score of their own change.
        detector: whether another detector works, also of the same model, so that recordings of frames begin anew.
    """

    def stays(name: str, camera: CameraConfig) -> bool:
        begins_anew = (scores and camera.min_score is None) or (detector and camera.record is not None)
        return before.get(name) == camera and not begins_anew

    before = {camera.name: camera for camera in old.cameras}
    wanted = {camera.name: camera for camera in new.cameras}
    kept = tuple(name for name, camera in wanted.items() if stays(name, camera))
    at_restart = tuple(name for name in RESTART if getattr(old, name) != getattr(new, name))
    return Changes(
        tuple(name for name in before if name not in kept),
        tuple(camera for name, camera in wanted.items() if name not in kept),
        kept,
        model,
        at_restart,
    )


def without_restart(old: ServiceConfig, new: ServiceConfig) -> ServiceConfig:
    """Return what runs after a change: what only a restart changes is still the old."""
    return replace(new, **{name: getattr(old, name) for name in RESTART})
