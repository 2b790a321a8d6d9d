"""Record a clip around each event, with the seconds before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from time import monotonic, time

from ssd_edge.detections import Detections
from ssd_edge.outputs.clip import Clip
from ssd_edge.outputs.draw import annotate
from ssd_edge.outputs.file_names import name_part
from ssd_edge.outputs.happenings import Happening, Happenings
from ssd_edge.outputs.jpeg import as_jpeg
from ssd_edge.outputs.preroll import Preroll, Shot
from ssd_edge.outputs.series import Series
from ssd_edge.outputs.sink import Sink, cannot_write, check_folder
from ssd_edge.outputs.space import Space
from ssd_edge.stream.frames import Frame

LONGEST = 600.0
"""Seconds after which a clip ends, however much goes on happening."""

_QUALITY = 90
_STEM, _SUFFIXES = "clip", (".mp4", ".json")


@dataclass(frozen=True)
class ClipSettings:
    """What a clip shows.

    Attributes:
        camera: the camera's name, for the names of clips.
        before, after: seconds before the first event and after the last.
        largest: bytes after which a clip ends in any case; None for no limit.
    """

    camera: str = ""
    before: float = 5.0
    after: float = 5.0
    largest: int | None = None

    def over(self, clip: Clip, at: float) -> bool:
        """Tell whether a clip ends with a frame at a time of its source's clock."""
        return at >= clip.until or clip.length >= LONGEST or (self.largest is not None and clip.size >= self.largest)


class Clips(Sink):
    """Sink that records what happened: ``clip-00000007-20260731T115019Z-door-entered-gate.mp4``, and .json beside it.

    The frames before an event are kept as JPEG, up to 64 MiB of them. An event during a clip extends it. What is an
    event, ``Happenings`` says.

    Args:
        path: the folder, which is made if it does not exist.
        labels: class names, as in the model's spec.
        fps: frame rate of pictures, which have no time; None means 25.
        settings: what a clip shows.
        space: the room that clips may take; None for all.

    Raises:
        SinkError: the folder cannot be made or written to.
    """

    heavy = True
    tells_events = True

    def __init__(
        self,
        path: str | Path,
        labels: Sequence[str],
        fps: float | None = None,
        settings: ClipSettings = ClipSettings(),
        space: Space | None = None,
    ) -> None:
        self.path: Path = Path(path)
        self._labels, self._settings, self._space = labels, settings, space
        self._fps = Fraction(fps or 25).limit_denominator(1001)
        make = Series if space is None else space.series
        self._series = make(self.path, _STEM, _SUFFIXES)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.path, error) from None
        check_folder(self.path / "clip.mp4")
        self._check_space()
        self._happenings = Happenings(labels)
        self._before = Preroll(settings.before)
        self._clip: Clip | None = None
        self._wrote = monotonic()

    @classmethod
    def opened(
        cls,
        target: str,
        labels: Sequence[str],
        fps: float | None,
        *,
        settings: ClipSettings = ClipSettings(),
        space: Space | None = None,
    ) -> Clips:
        """See ``catalogue.open_sink``."""
        return cls(target, labels, fps, settings, space)

    def write(self, frame: Frame, detections: Detections) -> None:
        """Keep a frame, and record it if something happened in it or not long ago."""
        self._check_space()
        self._wrote = monotonic()
        at = frame.captured if frame.position is None else frame.position
        picture = annotate(frame.image, detections, self._labels)
        shot = Shot(
            at,
            time() - (self._wrote - frame.captured),
            frame.index,
            picture.shape[:2],
            as_jpeg(picture, _QUALITY, f"clips in {self.path}"),
        )
        if not self._before.continues(shot):
            self._finish()
            self._before.clear()
        self._before.add(shot)
        if self._clip is not None:
            self._clip.add(shot)
        for happening in self._happenings.of(detections, at):
            if self._clip is None:
                self._clip = self._begin(happening, shot)
            self._clip.note(happening, shot)
        if self._clip is not None:
            self._clip.keep_up()
            self._clip.encode_some()
            if self._settings.over(self._clip, at):
                self._finish()

    def idle(self) -> None:
        """End a clip if no frame came for as long as it would have gone on."""
        if self._clip is not None and monotonic() - self._wrote > self._settings.after:
            self._finish()

    def close(self) -> None:
        """Finish the clip that is being recorded."""
        self._finish()

    def _check_space(self) -> None:
        if self._space is not None:
            self._space.check(self.path)

    def _begin(self, happening: Happening, shot: Shot) -> Clip:
        if self._space is not None:
            self._space.check(self.path, now=True)
        parts = (name_part(self._settings.camera, 40), name_part(happening.name, 60))
        about = "-".join(part.replace(" ", "_") for part in parts if part)
        try:
            path, file = self._series.begin(".mp4", about, shot.wall)
        except OSError as error:
            raise cannot_write(self.path, error) from None
        self._series.in_use.add(path.with_suffix(".json"))
        return Clip(file, path, self._fps, self._settings.camera, self._settings.after, list(self._before))

    def _finish(self) -> None:
        clip, self._clip = self._clip, None
        if clip is not None:
            try:
                clip.close()
            finally:
                self._series.in_use -= {clip.path, clip.path.with_suffix(".json")}
