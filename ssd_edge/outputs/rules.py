"""How one camera's outputs record: pieces, clips, and the room that they take; and what opens each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssd_edge.errors import SinkError
from ssd_edge.outputs.catalogue import open_sink
from ssd_edge.outputs.limits import NO_LIMIT, Limit
from ssd_edge.outputs.space import Space
from ssd_edge.parsing import bytes_as_text

if TYPE_CHECKING:
    from ssd_edge.outputs.opening import Opener
    from ssd_edge.outputs.pieces import Pieces

_PIECES, _MINUTES = 20, 10


@dataclass(frozen=True)
class Rules:
    """What holds for all recordings of a run.

    Attributes:
        limit: when video and JSON begin a new piece; its size is a clip's largest too.
        before, after: seconds that a clip shows before its first event and after its last.
        space: the room that recordings may take, shared by all cameras.
    """

    limit: Limit = NO_LIMIT
    before: float = 5.0
    after: float = 5.0
    space: Space = field(default_factory=Space)
    _lines: dict[Path, Pieces] = field(default_factory=dict)  # of JSON, which cameras may share

    def openers(
        self, targets: Mapping[str, str], labels: Sequence[str], fps: float | None, camera: str, label: str = ""
    ) -> dict[str, Opener]:
        """Return what opens each output, by name, also again after an error.

        Args:
            targets: file or folder of each output, by a key of ``SINKS``.
            labels: class names, as in the model's spec.
            fps: frame rate of the source; None if it is not known.
            camera: its name.
            label: its name where cameras share a file or screen: in each line of JSON, and in the window's title.
        """
        return {
            name: partial(open_sink, name, target, labels, fps, **self._settings(name, target, camera, label))
            for name, target in targets.items()
        }

    def _settings(self, name: str, target: str, camera: str, label: str) -> dict[str, Any]:
        """Return the settings of an output; its files are known to all its openings, so that none is written twice."""
        from ssd_edge.outputs.clips import ClipSettings
        from ssd_edge.outputs.pieces import Pieces
        from ssd_edge.outputs.video import video_pieces

        path = Path(target)
        if name == "video":
            return {"pieces": video_pieces(path, self.limit, self.space)}
        if name == "json":
            if target != "-" and path not in self._lines:
                self._lines[path] = Pieces(path, self.limit, space=self.space)
            return {"pieces": self._lines.get(path), "camera": label}
        if name == "window":
            return {"title": f"ssd-edge: {label}"} if label else {}
        if name == "images":
            return {"space": self.space}
        if name == "clips":
            settings = ClipSettings(camera, self.before, self.after, self.limit.size)
            return {"settings": settings, "space": self.space}
        return {}


def pieces_within(quota: int | None, limit: Limit) -> Limit:
    """Return when pieces end so that a quota can be kept by removing whole ones.

    Without a limit they end after ten minutes, or at a twentieth of the quota.

    Raises:
        SinkError: the limit asked for is too large for the quota.
    """
    if quota is None:
        return limit
    if limit.size is not None and 2 * limit.size > quota:
        raise SinkError(
            f"pieces of {bytes_as_text(limit.size)} are too large for a quota of {bytes_as_text(quota)}: rotate at "
            "half of it or less"
        )
    return limit.within(Limit(max(1, quota // _PIECES), None if limit else 60.0 * _MINUTES))
