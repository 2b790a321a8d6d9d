"""Read a service's file: each mistake is one sentence with file, line and what was expected."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from ssd_edge.errors import ServiceError, SsdEdgeError
from ssd_edge.outputs.catalogue import check_target
from ssd_edge.parsing import parse_bytes, parse_duration, shown
from ssd_edge.service.config import CameraConfig, DiskConfig, OutputConfig, PageConfig, ServiceConfig
from ssd_edge.service.environment import filled_in, variables_in
from ssd_edge.service.output_forms import FILES, FOLDERS, FORMS, OutputsForm
from ssd_edge.service.service_file import CameraForm, PageForm, ServiceForm
from ssd_edge.service.web import parse_address
from ssd_edge.stream.buffers import parse_buffer
from ssd_edge.stream.camera_mode import parsed_mode
from ssd_edge.stream.sources import same_source
from ssd_edge.swap.contract import Contract
from ssd_edge.tracking.watch_file import WatchReader
from ssd_edge.web.address import parse_address as page_address
from ssd_edge.web.tokens import refuse_without_token
from ssd_edge.yaml_files import Lines, converted, line_of, parse_settings, read_text, where

KIND = "service file"

_NAME = re.compile(r"\w[\w .-]{0,63}")
_Value = TypeVar("_Value")


def read_service(path: Path, environment: Mapping[str, str] = os.environ) -> ServiceConfig:
    """Read a service's file, and check it as far as that needs no camera, no model and no network.

    Args:
        path: the file; relative paths in it are relative to its folder.
        environment: gives the variables that it names.

    Raises:
        ServiceError, WatchError: it cannot be read, a key is unknown, a value cannot be, or a variable is not set.
    """
    content, lines = parse_settings(read_text(path, KIND, ServiceError), str(path), KIND, ServiceError)
    return _Reader(path, content, lines, environment).config()


def variables_of(path: Path) -> list[str]:
    """Return the names of the environment's variables that a service's file needs, sorted.

    Raises:
        ServiceError: it cannot be read.
    """
    content, _ = parse_settings(read_text(path, KIND, ServiceError), str(path), KIND, ServiceError)
    return sorted({name for name, _ in variables_in(content)})


class _Reader:
    def __init__(self, path: Path, content: Mapping[str, Any], lines: Lines, environment: Mapping[str, str]) -> None:
        self._path, self._folder, self._lines = path, path.absolute().parent, lines
        for name, place in variables_in(content):
            if name not in environment:
                raise self._error(place, f"the environment has no variable {name}: set it before the start")
        self._written, self._content = content, filled_in(content, environment)
        self._form = converted(self._content, ServiceForm, str(path), lines, ServiceError)

    def config(self) -> ServiceConfig:
        form = self._form
        if not form.cameras:
            raise self._error("cameras", "cameras: name at least one")
        cameras = tuple(self._camera(name, camera) for name, camera in form.cameras.items())
        self._refuse_equal_sources(cameras)
        self._refuse_equal_targets(cameras)
        self._refuse_several_engines(cameras)
        if form.fallback is not None and form.degrade != "engine":
            raise self._error("fallback", "fallback is the engine of degrade: engine; give both, or neither")
        return ServiceConfig(
            self._path,
            self._folder / form.model,
            cameras,
            self._parsed("metrics", lambda: None if form.metrics is None else parse_address(str(form.metrics))),
            form.log,
            self._parsed("unhealthy_after", lambda: parse_duration(form.unhealthy_after)),
            self._disk(),
            form.degrade,
            None if form.fallback is None else self._folder / form.fallback,
            self._contract(),
            form.watch_models,
            self._page(),
        )

    def _camera(self, name: str, form: CameraForm) -> CameraConfig:
        place = f"cameras.{name}"
        if not _NAME.fullmatch(name):
            raise self._error(
                place, f"a camera's name has up to 64 letters, digits, blanks, _, . and -, but got {shown(name)}"
            )
        if form.min_score is not None and not 0 <= form.min_score <= 1:
            raise self._error(
                f"{place}.min_score", f"{place}.min_score must lie between 0 and 1, but is {form.min_score:g}"
            )
        if form.fps is not None and not 0.1 <= form.fps <= 1000:
            raise self._error(f"{place}.fps", f"{place}.fps must lie between 0.1 and 1000, but is {form.fps:g}")
        self._parsed(f"{place}.format", lambda: parsed_mode(None, None, form.format))
        self._refuse_silence(place, form)
        watch, watch_file, as_written = self._watch(name)
        return CameraConfig(
            name,
            self._source(str(form.source)),
            self._parsed(f"{place}.size", lambda: parsed_mode(form.size, form.fps, form.format)),
            form.capture,
            self._parsed(f"{place}.max_age", lambda: None if form.max_age is None else parse_duration(form.max_age)),
            self._parsed(f"{place}.buffer", lambda: parse_buffer(form.buffer)),
            watch,
            watch_file,
            as_written,
            form.min_score,
            tuple(self._outputs(name, form.outputs)),
        )

    def _source(self, source: str) -> str:
        """Take what exists beside the service's file for a path."""
        beside = self._folder / source
        try:
            return str(beside) if source and beside.exists() else source
        except (OSError, ValueError):  # a pipeline is no path
            return source

    def _watch(self, camera: str) -> tuple[Mapping[str, Any] | None, Path | None, bool]:
        """Return what a camera watches, its file if it has one, and whether it stands so in the file."""
        watch, written = (content["cameras"][camera].get("watch") for content in (self._content, self._written))
        if isinstance(watch, str):
            return WatchReader(self._folder / watch).content, self._folder / watch, True
        if watch is not None:
            start = f"cameras.{camera}.watch."
            lines = {inner.removeprefix(start): line for inner, line in self._lines.items() if inner.startswith(start)}
            WatchReader(self._path, watch, lines)
        return watch, None, watch == written

    def _outputs(self, camera: str, own: OutputsForm) -> Iterator[OutputConfig]:
        for kind in FORMS:
            form = getattr(own, kind)
            form = getattr(self._form.outputs, kind) if form is UNSET else form
            if form is None or form is UNSET:
                continue
            settings = msgspec.structs.asdict(form) if isinstance(form, msgspec.Struct) else {"to": form}
            target = str(settings.pop("to")).replace("{camera}", camera)
            of_camera = f"cameras.{camera}.outputs.{kind}"
            place = of_camera if of_camera in self._lines else f"outputs.{kind}"
            if not target:
                raise self._error(place, f"{place} needs the file, folder or address that it writes")
            if kind in (*FILES, *FOLDERS):
                target = target if target == "-" else str(self._folder / target)
            else:
                self._parsed(place, partial(check_target, kind, target))
            yield OutputConfig(kind, target, self._recording(settings, place))

    def _recording(self, settings: dict[str, Any], place: str) -> dict[str, Any]:
        """Read sizes, times and paths of a recording; other settings are as they are."""
        readers: dict[str, Callable[[str], Any]] = {
            "rotate_size": parse_bytes,
            "rotate_every": parse_duration,
            "before": parse_duration,
            "after": parse_duration,
            "size": parse_bytes,
            "quiet": parse_duration,
            "gap": parse_duration,
            "against": lambda value: str(self._folder / value),
        }
        return {
            name: self._parsed(f"{place}.{name}", partial(readers[name], value))
            if name in readers and value is not None
            else value
            for name, value in settings.items()
        }

    def _page(self) -> PageConfig | None:
        form = self._form.page
        if form is None:
            return None
        settings = form if isinstance(form, PageForm) else PageForm(address=form)
        if settings.token is not None and settings.token_file is not None:
            raise self._error("page.token_file", "page has token and token_file: give one of them")
        address = self._parsed("page.address", lambda: page_address(str(settings.address)))
        if self._form.metrics is not None and address.port and address == parse_address(str(self._form.metrics)):
            raise self._error("page.address", f"page and metrics are both served on {address}: give one another port")
        has_token = settings.token is not None or settings.token_file is not None
        how = "token: ${NAME}, a variable of the environment, or token_file: FILE"
        self._parsed("page.address", lambda: refuse_without_token(address, has_token, how))
        file = None if settings.token_file is None else self._folder / settings.token_file
        return PageConfig(address, settings.token, file)

    def _disk(self) -> DiskConfig:
        quota, free = self._form.disk.quota, self._form.disk.free
        return DiskConfig(
            self._parsed("disk.quota", lambda: None if quota is None else parse_bytes(quota)),
            self._parsed("disk.free", lambda: None if free is None else parse_bytes(free)),
        )

    def _contract(self) -> Contract:
        settings: dict[str, Any] = msgspec.structs.asdict(self._form.swap)
        for name in ("seconds", "probation_seconds", "patience", "growth"):
            read = parse_bytes if name == "growth" else parse_duration
            settings[name] = self._parsed(f"swap.{name}", partial(read, settings[name]))
        return Contract(**settings)

    def _refuse_silence(self, place: str, form: CameraForm) -> None:
        """Refuse a webhook that would never be called: without zones and lines there are no events."""
        webhook = self._form.outputs.webhook if form.outputs.webhook is UNSET else form.outputs.webhook
        rate = getattr(webhook, "rate", 0.0)
        if webhook is not UNSET and webhook is not None and form.watch is None and not rate:
            raise self._error(
                f"{place}.outputs.webhook",
                f"{place}: a webhook is told events of zones and lines, which need watch; or frames, at most one a "
                "second, with rate: 1",
            )

    def _refuse_several_engines(self, cameras: tuple[CameraConfig, ...]) -> None:
        """Refuse to record what another engine may find in the middle."""
        name = next((camera.name for camera in cameras if camera.record), None)
        settings = {"degrade: engine": self._form.degrade == "engine", "watch_models: true": self._form.watch_models}
        for setting, exchanges in settings.items():
            if exchanges and name is not None:
                own = f"cameras.{name}.outputs.record"
                raise self._error(
                    own if own in self._lines else "outputs.record",
                    f"record keeps the run of one engine, which {setting} may exchange: leave one of them out",
                )

    def _refuse_equal_sources(self, cameras: tuple[CameraConfig, ...]) -> None:
        for index, camera in enumerate(cameras):
            for other in cameras[:index]:
                if same_source(camera.source, other.source):
                    raise self._error(
                        f"cameras.{camera.name}.source", f"the cameras {other.name} and {camera.name} have one source"
                    )

    def _refuse_equal_targets(self, cameras: tuple[CameraConfig, ...]) -> None:
        seen: dict[str, str] = {}
        for camera in cameras:
            for output in camera.outputs:
                # Recordings of frames are named after their camera.
                if output.kind not in (*FILES, *FOLDERS) or output.kind == "record" or output.target == "-":
                    continue
                if output.target in seen:
                    own = f"cameras.{camera.name}.outputs.{output.kind}"
                    raise self._error(
                        own if own in self._lines else f"outputs.{output.kind}",
                        f"{seen[output.target]} and {camera.name} would both write {output.target}: put {{camera}} "
                        "into its name",
                    )
                seen[output.target] = camera.name

    def _parsed(self, place: str, parse: Callable[[], _Value]) -> _Value:
        try:
            return parse()
        except (ValueError, SsdEdgeError) as error:
            raise self._error(place, str(error)) from None

    def _error(self, place: str, problem: str) -> ServiceError:
        return ServiceError(f"{where(str(self._path), line_of(place, self._lines))}{problem}")
