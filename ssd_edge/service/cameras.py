"""The cameras of a running service: opened, opened again after a failure, and closed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from ssd_edge.detector import Detector
from ssd_edge.errors import SinkError, SourceError, SsdEdgeError
from ssd_edge.loop.camera import Camera
from ssd_edge.loop.chosen import chosen, thresholds_of
from ssd_edge.loop.run import CameraLoop
from ssd_edge.outputs.collect.settings import lowest_score as lowest_collected
from ssd_edge.outputs.opening import open_outputs
from ssd_edge.replay.recordings import Recordings
from ssd_edge.replay.schema import Identity
from ssd_edge.service.config import CameraConfig, ServiceConfig
from ssd_edge.service.live_page import LivePage
from ssd_edge.service.log import Log
from ssd_edge.service.outputs import Asked, Openers
from ssd_edge.spec import ModelSpec
from ssd_edge.stream.backoff import BackOff
from ssd_edge.stream.sources import open_source
from ssd_edge.tracking.watch_file import WatchReader
from ssd_edge.web.tuning import LOWEST_SCORE

FIRST_DELAY, LAST_DELAY = 1.0, 10.0
"""Seconds before a camera that failed is opened again, and the most seconds between two attempts."""

_CLOSING = 10.0  # seconds


def lowest_score(config: ServiceConfig, spec: ModelSpec) -> float:
    """Return the lowest score that any camera or the live page reads.

    Raises:
        WatchError: a camera watches a class that the model does not have.
    """
    lowest = min(lowest_of(camera, spec, config.path) for camera in config.cameras)
    return lowest if config.page is None else min(lowest, LOWEST_SCORE)


def lowest_of(camera: CameraConfig, spec: ModelSpec, path: Path) -> float:
    """Return the lowest score that a camera reads; arguments and errors as of ``lowest_score``."""
    score = chosen(spec, camera.min_score, watch_of(camera, path)).lowest_score
    collects = any(output.kind == "collect" for output in camera.outputs)
    return min(score, lowest_collected(thresholds_of(spec, camera.min_score))) if collects else score


def watch_of(camera: CameraConfig, path: Path) -> WatchReader | None:
    """Return what a camera watches; None for nothing."""
    return None if camera.watch is None else WatchReader(path, camera.watch)


@dataclass
class _Waiting:
    """A camera that could not be opened."""

    config: CameraConfig
    reason: str
    back_off: BackOff = field(default_factory=lambda: BackOff(FIRST_DELAY, LAST_DELAY))
    due: float = 0.0

    def postpone(self) -> float:
        delay = self.back_off.delay()
        self.due = monotonic() + delay
        return delay


class Cameras:
    """Opens the cameras of a service for its loop. One thread at a time may use it, but for ``waiting``.

    Args:
        loop: runs them.
        openers: gives what opens their outputs.
        path: the service's file, for sentences.
        log: takes lines.
        working: gives which engine detects, and the lowest score that it is asked for.
        page: shows them; None for no page.
    """

    def __init__(
        self,
        loop: CameraLoop,
        openers: Openers,
        path: Path,
        log: Log,
        working: Callable[[], tuple[Identity, float]],
        page: LivePage | None = None,
    ) -> None:
        self._working = working
        self._loop, self._openers, self._path, self._log, self._page = loop, openers, path, log, page
        self._running: dict[str, CameraConfig] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._lock = threading.Lock()

    @property
    def waiting(self) -> Mapping[str, str]:
        """Why cameras cannot be opened, by their names; any thread may ask."""
        with self._lock:
            return {name: one.reason for name, one in self._waiting.items()}

    def open(self, config: CameraConfig, patient: bool = False) -> None:
        """Open a camera and its outputs, and have the loop read it.

        Args:
            config: the camera.
            patient: whether its outputs may be opened later.

        Raises:
            SourceError, SinkError, WatchError: it cannot be opened.
        """
        if self._page is not None:
            self._page.expect(config, self._loop.detector.spec)
        self._loop.add(self._opened(config, self._loop.detector, patient))
        self._running[config.name] = config

    def open_or_wait(self, config: CameraConfig) -> None:
        """Open a camera; if it is not there, say so, and try again later. Outputs may come later than it."""
        try:
            self.open(config, patient=True)
        except (SourceError, SinkError) as error:
            self._wait(_Waiting(config, str(error)))

    def close(self, name: str) -> None:
        """Close a camera, or stop trying to open it."""
        with self._lock:
            self._waiting.pop(name, None)
        self._release(name)
        if self._page is not None:
            self._page.forget(name)

    def _release(self, name: str) -> None:
        if self._running.pop(name, None) is not None:
            # A device must be free before it can be opened anew.
            self._loop.remove(name).wait(_CLOSING)

    def look(self) -> None:
        """Open again what failed, at most one camera at a time; to be called every now and then."""
        for name, report in self._loop.report().cameras.items():
            if report.error and name in self._running:
                config = self._running[name]
                self._release(name)
                self._wait(_Waiting(config, report.error))
        due = next((one for one in self._waiting.values() if monotonic() >= one.due), None)
        if due is None:
            return
        try:
            self.open(due.config, patient=True)
        except SsdEdgeError as error:
            changed = str(error) != due.reason
            with self._lock:
                due.reason = str(error)
            delay = due.postpone()
            if changed:
                self._say(due, delay)
        else:
            with self._lock:
                del self._waiting[due.config.name]
            self._log.line("opened again", "source", camera=due.config.name)

    def _wait(self, waiting: _Waiting) -> None:
        if self._page is not None:
            self._page.lose(waiting.config.name)
        delay = waiting.postpone()
        with self._lock:
            self._waiting[waiting.config.name] = waiting
        self._say(waiting, delay)

    def _say(self, waiting: _Waiting, delay: float) -> None:
        self._log.line(f"{waiting.reason}; trying again in {delay:.0f} s", "source", "warning", waiting.config.name)

    def _opened(self, config: CameraConfig, detector: Detector, patient: bool) -> Camera:
        spec, name = detector.spec, config.name
        shown = chosen(spec, config.min_score, watch_of(config, self._path)).shown
        with ExitStack() as stack:
            source = open_source(config.source, mode=config.mode, way=config.capture, reader=detector)
            stack.enter_context(source)
            source.listen(self._log.note("source", "warning", name))
            thresholds = thresholds_of(spec, config.min_score)
            openers = {
                output.kind: self._openers.opener(output, name, spec.labels, source.fps, thresholds)
                for output in config.outputs
                if output is not config.record
            }
            recordings = self._recordings(config, spec)
            if recordings is not None:
                openers |= recordings.opener(name, source)
            say = self._log.note("output", "warning", name)
            sinks = open_outputs(openers, say, wait=False, patient=patient)
            for sink in sinks:
                stack.push(sink)
            camera = Camera(name, source, sinks, shown, config.buffer, config.max_age)
            if self._page is not None:
                camera = self._page.with_view(camera, config, spec)
            if recordings is not None:
                camera = recordings.with_notes(camera)
            stack.pop_all()
        by = f" by {source.way}" if source.way else ""
        self._log.line(f"{source.name}{by}", "source", camera=name)
        return camera

    def _recordings(self, config: CameraConfig, spec: ModelSpec) -> Recordings | None:
        if config.record is None:
            return None
        engine, lowest = self._working()
        # On the page zones may be drawn anew.
        reader = None if self._page is not None else watch_of(config, self._path)
        asked = Asked(spec.labels, thresholds_of(spec, config.min_score), lowest, reader)
        return self._openers.recordings(config.record, engine, asked)
