"""The cameras that ``ssd-edge run`` was given: their names, and each one opened with its outputs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ssd_edge.cli.camera_options import PLACE
from ssd_edge.errors import SinkError, SourceError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ssd_edge.cli.collect_options import Collecting
    from ssd_edge.cli.network_output_options import NetworkOutputs
    from ssd_edge.cli.page_beside import Watching
    from ssd_edge.cli.page_options import PageChoice
    from ssd_edge.cli.relieving import Relieving
    from ssd_edge.cli.run_report import Ran
    from ssd_edge.detector import Engine, Reader
    from ssd_edge.loop.camera import Camera
    from ssd_edge.outputs.rules import Rules
    from ssd_edge.replay.recordings import Recordings
    from ssd_edge.service.log import Log
    from ssd_edge.spec import ModelSpec
    from ssd_edge.stream.buffers import BufferPolicy
    from ssd_edge.stream.camera_mode import CameraMode
    from ssd_edge.tracking.watch import Watch
    from ssd_edge.tracking.watch_file import WatchReader

ALONE = "camera"
"""Name of a camera that is the only one and was given none."""

_OF_EACH = {name: f"--save-{name}" for name in ("video", "images", "clips")} | {"collect": "--collect"}
"""Outputs that cannot be shared by cameras, with their options."""
_NAMED = re.compile(r"(\w[\w.-]*)=(.+)", re.DOTALL)
_LONGEST = 60


class Given(NamedTuple):
    """A camera as it was typed: its name, and what ``open_source`` takes."""

    name: str
    address: str


def read_cameras(texts: Sequence[str]) -> list[Given]:
    """Read cameras from what a user types, each ``ADDRESS`` or ``NAME=ADDRESS``.

    One without a name is called after its address where there are several.

    Raises:
        SourceError: two have one name.
    """
    cameras: list[Given] = []
    for text in texts:
        found = None if _is_file(text) else _NAMED.fullmatch(text)
        given = Given(found[1], found[2]) if found else Given(ALONE if len(texts) == 1 else _name_of(text), text)
        if given.name in (camera.name for camera in cameras):
            raise SourceError(
                f"two cameras are named {given.name}: give each a name of its own, as in --camera door=ADDRESS"
            )
        cameras.append(given)
    return cameras


def check_paths(targets: Mapping[str, str], cameras: Sequence[Given]) -> None:
    """Refuse a path that several cameras would write to.

    Raises:
        SinkError: there are several cameras, and one path for all of them.
    """
    for name, target in targets.items():
        if len(cameras) > 1 and name in _OF_EACH and PLACE not in target:
            path = Path(target)
            example = path.with_name(f"{path.stem}-{PLACE}{path.suffix}")
            raise SinkError(
                f"{_OF_EACH[name]} {target} is one path for {len(cameras)} cameras: write {PLACE} where the camera's "
                f"name is to stand, as in {example}"
            )


@dataclass(frozen=True)
class Wanted:
    """What is asked of all cameras of a run.

    Attributes:
        mode: what to ask of a camera.
        way: a key of ``WAYS``: what reads the sources.
        buffer: which frames wait.
        max_age: seconds after which a frame is too old; None for no limit.
        min_score: score for all classes; None for each class's own.
        reader: what to watch; None for nothing.
        targets: what each output writes, by a key of ``SINKS``.
        rules: how recordings are written.
        network: outputs that tell others.
        collecting: hard frames that are collected.
        several: whether there are several cameras.
        relieving: what may be lost while the machine is slowed down.
        page: where the live page is served; None for none.
        watch: the file of ``reader``.
        record: how they are recorded for a replay; None if they are not.
    """

    mode: CameraMode
    way: str
    buffer: BufferPolicy
    max_age: float | None
    min_score: float | None
    reader: WatchReader | None
    targets: Mapping[str, str]
    rules: Rules
    network: NetworkOutputs
    collecting: Collecting
    several: bool
    relieving: Relieving
    page: PageChoice | None = None
    watch: Path | None = None
    record: Recordings | None = None

    @property
    def draws(self) -> bool:
        """Whether an output shows class names on pictures."""
        return bool({*self.targets, *self.network.targets} - {"json", "mqtt"})

    def lowest_score(self, spec: ModelSpec) -> float:
        """Return the lowest score that is read.

        Raises:
            WatchError: a class that is to be watched is none of the model's.
        """
        from ssd_edge.loop.chosen import chosen, thresholds_of

        lowest = chosen(spec, self.min_score, self.reader).lowest_score
        lowest = min(lowest, self.collecting.lowest_score(thresholds_of(spec, self.min_score)))
        if self.page is None:
            return lowest
        from ssd_edge.web.tuning import LOWEST_SCORE

        return min(lowest, LOWEST_SCORE)

    def watching(self, spec: ModelSpec) -> Watching:
        """Return what the page begins with; cameras that share a watch file cannot each write it."""
        from ssd_edge.cli.page_beside import Watching

        return Watching(spec, self.min_score, None if self.several else self.watch, self.reader)

    def opened(self, given: Given, engine: Engine, reader: Reader, log: Log) -> tuple[Camera, Watch | None]:
        """Open a camera and its outputs.

        Returns:
            The camera, and what watches it, if anything does.

        Raises:
            SourceError, SinkError, WatchError: it cannot be opened.
        """
        from ssd_edge.loop.camera import Camera
        from ssd_edge.loop.chosen import chosen, thresholds_of
        from ssd_edge.outputs.opening import open_outputs, waits_for_outputs
        from ssd_edge.stream.buffers import EVERY
        from ssd_edge.stream.sources import open_source

        choice = chosen(engine.spec, self.min_score, self.reader)
        label = given.name if self.several else ""
        say = log.note("output", "warning", label or None)
        with ExitStack() as stack:
            source = stack.enter_context(open_source(given.address, mode=self.mode, way=self.way, reader=reader))
            source.listen(log.note("source", "warning", label or None))
            targets = {name: target.replace(PLACE, given.name) for name, target in self.targets.items()}
            openers = self.rules.openers(targets, engine.spec.labels, source.fps, label or source.name, label)
            openers |= self.network.openers(given.name, engine.spec.labels, source.fps, say)
            if self.record is not None:
                openers |= self.record.opener(given.name, source)
            thresholds = thresholds_of(engine.spec, self.min_score)
            openers |= self.collecting.openers(given.name, engine.spec.labels, thresholds, self.rules.space, say)
            sinks = open_outputs(openers, say, waits_for_outputs(source, self.buffer == EVERY))
            stack.pop_all()
        return Camera(given.name, source, sinks, choice.shown, self.buffer, self.max_age), choice.watch


def run_cameras(
    model: Path,
    engine: Engine,
    cameras: Sequence[Given],
    wanted: Wanted,
    log: Log,
    show: Callable[[RenderableType], None],
    frames: int | None,
    seconds: float | None,
) -> Ran:
    """Open cameras and run the loop.

    Args:
        model: what the user named.
        engine: the model.
        cameras: the cameras.
        wanted: what is asked of them.
        log: takes the lines.
        show: shows a table while it runs.
        frames, seconds: when to end.

    Raises:
        SsdEdgeError: a camera, an output or the engine failed.
    """
    from ssd_edge.cli.page_beside import page_beside
    from ssd_edge.cli.relieving import Watched
    from ssd_edge.cli.run_report import Ran, run_table
    from ssd_edge.loop.run import CameraLoop
    from ssd_edge.outputs.lettering import names_not_shown
    from ssd_edge.replay.stages import traced

    score = wanted.lowest_score(engine.spec)
    detector = engine.detector(score) if wanted.record is None else traced(engine, score)
    if wanted.draws and (not_shown := names_not_shown(engine.spec.labels)):
        log.line(not_shown, "output", "warning")
    opened: list[Camera] = []
    watches: dict[str, Watch | None] = {}
    with ExitStack() as stack:
        smaller = wanted.relieving.smaller(model, engine, score, stack, log.note("model", "warning"))
        page = stack.enter_context(page_beside(wanted.page, wanted.watching(engine.spec), log.note("page")))
        loop = stack.enter_context(CameraLoop(detector, log.note("source", "warning")))
        if page:
            page.measure(loop)
        for given in cameras:
            camera, watches[given.name] = wanted.opened(given, engine, loop, log)
            if page:
                camera = page.with_view(camera, _name_on_page(given, cameras))
            if wanted.record:
                camera = wanted.record.with_notes(camera)
            opened.append(camera)
            loop.add(camera)
        log.line(f"{model}: {engine.backend} {engine.precision}, on {_places(opened)}; Ctrl-C ends it", "run")
        machine = Watched(loop, smaller, wanted.relieving.may_lose_frames(opened), log)
        with machine.recorder:
            report = loop.run(max_frames=frames, duration=seconds, on_report=lambda now: show(run_table(now)))
            watches |= page.watches() if page else {}
    return Ran(report, opened, watches, machine)


def _name_on_page(given: Given, cameras: Sequence[Given]) -> str:
    """Return a camera's name for the page, where a name made of its address has no place."""
    return f"{ALONE} {cameras.index(given) + 1}" if given.name == _name_of(given.address) else given.name


def _places(cameras: Sequence[Camera]) -> str:
    def place(camera: Camera) -> str:
        way = f" by {camera.source.way}" if camera.source.way else ""
        return f"{camera.source.name}{way}"

    if len(cameras) == 1:
        return place(cameras[0])
    return ", ".join(f"{camera.name} ({place(camera)})" for camera in cameras)


def _name_of(address: str) -> str:
    """Make a name, which can be a part of a path, of an address."""
    from ssd_edge.stream.addresses import without_secrets

    name = re.sub(r"[^\w.]+", "-", without_secrets(address)).strip("-.")
    return name[:_LONGEST].rstrip("-.") or ALONE


def _is_file(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False
