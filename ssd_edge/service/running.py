"""Run a service: cameras, model, pages, signals, until it is told to end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext, suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic

from ssd_edge import __version__
from ssd_edge.engines.identity import identity_of
from ssd_edge.errors import ServiceError, SsdEdgeError
from ssd_edge.loop.degrade import Policy, ladder
from ssd_edge.loop.relief import Relief
from ssd_edge.loop.run import CameraLoop
from ssd_edge.loop.stats import RunReport
from ssd_edge.machine.heat import HeatRecorder
from ssd_edge.machine.readings import Readings
from ssd_edge.replay.schema import Identity
from ssd_edge.service.cameras import Cameras, lowest_score
from ssd_edge.service.changes import changes_between, without_restart
from ssd_edge.service.check import problems_of_camera
from ssd_edge.service.config import CameraConfig, ServiceConfig
from ssd_edge.service.control import Control
from ssd_edge.service.exposition import Family, exposition
from ssd_edge.service.health import Health
from ssd_edge.service.live_page import LivePage
from ssd_edge.service.log import Log
from ssd_edge.service.metrics import (
    camera_families,
    duration_families,
    heat_families,
    info_family,
    output_families,
    process_families,
    service_families,
)
from ssd_edge.service.model import RunningModel, stamp_of
from ssd_edge.service.notify import Notifier
from ssd_edge.service.outputs import Openers
from ssd_edge.service.reading import read_service
from ssd_edge.service.seat import EngineSeat
from ssd_edge.service.signals import Event, signal_events
from ssd_edge.service.swaps import Swaps
from ssd_edge.service.web import Pages
from ssd_edge.swap.journal import identity, journal_of
from ssd_edge.swap.remote import PROGRAM
from ssd_edge.swap.versions import Watched, is_folder_of_models, start_model
from ssd_edge.web.machine import machine_at

_TICK = 0.25
_STATUS_EVERY = 10.0
_AFTER_MISTAKE = 1.0
_WATCH_EVERY = 1.0
_ONE_ENGINE = (
    "record keeps the run of one engine, so that none can be exchanged by a trial: take record out of the service's "
    "file, or name the new engine there"
)
_ENDING = 5.0  # seconds that work on a change has to end


class _Regular:
    """Tells whether something that is done at intervals is due; the first time, it is."""

    def __init__(self) -> None:
        self._last = float("-inf")

    def due(self, every: float) -> bool:
        now = monotonic()
        if now - self._last < every:
            return False
        self._last = now
        return True


class Service:
    """A service that runs in the main thread.

    Args:
        config: what to run.
        log: takes lines.
        wait: whether to start without cameras and outputs that are not there yet, and open them later.
        candidates_program: the process of an engine that is to take over; see ``swap.remote.Remote``.

    Attributes:
        candidates_program: that of the next one.
    """

    def __init__(
        self, config: ServiceConfig, log: Log, wait: bool = False, candidates_program: Sequence[str] = PROGRAM
    ) -> None:
        self._config, self._log, self._wait = config, log, wait
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._notifier, self._health = Notifier(), Health(config.unhealthy_after)
        self._openers = Openers(config.disk, log)
        self._reloads = {"done": 0, "refused": 0}
        self.candidates_program = candidates_program
        self._started, self._stopping = threading.Event(), threading.Event()
        self._wanted = threading.Event()  # the file is to be read again
        self._alive, self._told, self._looked = _Regular(), _Regular(), _Regular()

    def run(
        self,
        *,
        max_frames: int | None = None,
        duration: float | None = None,
        on_report: Callable[[RunReport], None] = lambda report: None,
    ) -> RunReport:
        """Run until SIGTERM, Ctrl-C, a limit, or the end of all recordings.

        Args:
            max_frames, duration: see ``CameraLoop.run``.
            on_report: called about once a second with a report so far.

        Raises:
            ServiceError: a camera or output is not there, and it is not to be waited for.
            SsdEdgeError: the model cannot run here, or the engine failed.
        """
        if not self._wait:
            self._refuse_problems(*self._config.cameras)
        with ExitStack() as stack, signal_events(self._events, self._started):
            self._sit_down(stack)
            self._heat = stack.enter_context(HeatRecorder(listen=self._heed))
            self._page = self._opened_page(stack)
            self._cameras = Cameras(self._loop, self._openers, self._config.path, self._log, self._working, self._page)
            for camera in self._config.cameras:
                (self._cameras.open_or_wait if self._wait else self._cameras.open)(camera)
            if self._config.metrics is not None:
                pages = stack.enter_context(Pages(self._config.metrics, self._metrics, self._verdict))
                self._log.line(f"metrics and health: http://{pages.address}/metrics, /healthz", "service")
            self._open_control(stack)
            for name, work in (("control", self._control), ("changes", self._change)):
                thread = threading.Thread(target=self._again, args=(work,), name=f"service {name}", daemon=True)
                thread.start()
                stack.callback(thread.join, _ENDING)
            stack.callback(self._stopping.set)
            self._started.set()
            self._notifier.ready(self._status())
            report = self._loop.run(
                max_frames=max_frames, duration=duration, on_report=partial(self._on_report, on_report)
            )
            self._notifier.stopping()
        return report

    def _sit_down(self, stack: ExitStack) -> None:
        """Open the model, and make the loop that it works in."""
        config, journal = self._config, journal_of(self._config.path)
        model = self._opened(start_model(config.model, journal))
        try:
            score = lowest_score(config, model.engine.spec)
            detector = model.detector(score, config.records)
            self._loop = CameraLoop(detector, self._log.note("service", "warning"), lasting=True)
            policy, note = Policy(ladder(config.degrade == "engine")), self._log.note("machine", "warning")
            self._relief = Relief(self._loop, policy, model.smaller_detector(score), note)
            self._seat = EngineSeat(model, detector, self._loop, self._relief, lambda: self._config, self._opened)
        except BaseException:
            model.close()
            raise
        stack.callback(self._seat.close)
        stack.enter_context(self._loop)
        self._of_file = config.model, model.stamp
        self._swaps = Swaps(
            self._seat,
            lambda: self._config.contract,
            journal,
            self._log,
            lambda: self.candidates_program,
            lambda: _ONE_ENGINE if self._config.records else "",
        )
        self._watched = Watched(journal)
        stack.callback(self._swaps.close)
        stack.callback(self._seat.loop_ended)
        self._log.line(str(model), "model")
        with suppress(OSError):  # said by the first trial
            journal.write("started", model.path, identity(model.path))

    def _opened_page(self, stack: ExitStack) -> LivePage | None:
        if self._config.page is None:
            return None
        say, spec = self._log.note("page", "warning"), self._loop.detector.spec
        page = stack.enter_context(LivePage(self._config.page, spec.labels, lambda: self._config, say))
        for camera in self._config.cameras:
            page.expect(camera, spec)
        page.measure(lambda: self._loop.report().cameras, lambda: machine_at(self._heat.latest))
        self._log.line(f"page: http://{page.address}/", "service")
        return page

    def _open_control(self, stack: ExitStack) -> None:
        """Let ``ssd-edge swap`` ask; a service whose folder cannot be written runs without."""
        try:
            stack.enter_context(Control(self._config.path, self._swaps.answers))
        except ServiceError as error:
            self._log.line(f"no engine can be exchanged by ssd-edge swap: {error}", "swap", "warning")

    def _opened(self, path: Path) -> RunningModel:
        note, config = self._log.note("model", "warning"), self._config
        return RunningModel(path, note, config.degrade == "engine", config.fallback)

    def _heed(self, readings: Readings) -> None:
        if self._config.degrade != "off":
            self._relief.heed(readings)

    def _on_report(self, on_report: Callable[[RunReport], None], report: RunReport) -> None:
        self._health.beat()
        on_report(report)

    def _refuse_problems(self, *cameras: CameraConfig) -> None:
        for camera in cameras:
            for problem in problems_of_camera(camera):
                raise ServiceError(problem)

    def _again(self, work: Callable[[], None]) -> None:
        """Do a piece of work again and again until the end; a fault in it must not leave a service without it."""
        while not self._stopping.is_set():
            try:
                work()
            except Exception as error:
                self._log.line(f"a mistake in ssd-edge ({type(error).__name__}: {error})", "service", "error")
                self._stopping.wait(_AFTER_MISTAKE)

    def _control(self) -> None:
        """Act on signals, and give signs of life; nothing here may take long."""
        with suppress(Empty):
            event = self._events.get(timeout=_TICK)
            if event == "stop":
                self._log.line("ending", "service")
                self._notifier.stopping()
                self._loop.stop()
            else:
                self._wanted.set()
        self._health.look(self._loop.report().cameras)
        every = self._notifier.watchdog_every
        if every is not None and not self._health.stuck and self._alive.due(every):
            self._notifier.alive()
        if self._told.due(_STATUS_EVERY):
            self._notifier.status(self._status())

    def _change(self) -> None:
        """Read the file again when asked to, and open cameras that failed."""
        if self._wanted.wait(_TICK):
            self._wanted.clear()
            self._reload()
        self._cameras.look()
        self._look_for_models()
        self._health.waiting(self._cameras.waiting)
        reports = self._loop.report().cameras.values()
        if not self._cameras.waiting and reports and all(report.ended and not report.error for report in reports):
            self._loop.stop()  # recordings that have come to their end

    def _look_for_models(self) -> None:
        """Try a newer engine that was copied into the folder of models."""
        config = self._config
        if not config.watch_models or self._swaps.busy or not self._looked.due(_WATCH_EVERY):
            return
        found = self._watched.look(config.model, self._seat.model.path)
        if found is not None:
            self._swaps.begin(found)

    def _reload(self) -> None:
        self._notifier.reloading()
        try:
            with nullcontext() if self._page is None else self._page.saving:
                read = read_service(self._config.path)
                old = self._config if self._page is None else self._page.as_saved(self._config)
            self._apply(old, read)
            self._reloads["done"] += 1
        except SsdEdgeError as error:
            self._reloads["refused"] += 1
            self._log.line(f"the file was read again and refused, the old one goes on: {error}", "config", "error")
        except Exception as error:  # the old file goes on, whatever it is
            self._reloads["refused"] += 1
            self._log.line(f"the file was refused: {type(error).__name__}: {error}", "config", "error")
        self._notifier.ready(self._status())

    def _apply(self, old: ServiceConfig, read: ServiceConfig) -> None:
        """Change what differs; nothing is changed if any of it cannot be.

        Args:
            old: what runs.
            read: what the file holds now.

        Raises:
            SsdEdgeError: it cannot be.
        """
        new = without_restart(old, read)
        of_file = new.model, stamp_of(new.model)
        working = self._seat.model
        anew = of_file not in (self._of_file, (working.path, working.stamp)) and not is_folder_of_models(new.model)
        if anew or self._asked(new) != self._asked(old):
            self._swaps.cancel("the service's file was read again")
        working = self._seat.model
        model = self._opened(new.model) if anew else working
        try:
            other = anew or self._asked(new) != self._asked(old)
            changes = changes_between(old, read, anew, model.scores != working.scores, other)
            for camera in changes.opened:
                if not self._wait:
                    self._refuse_problems(camera)
            self._take_over(model, new, [camera for camera in old.cameras if other and camera.record])
        except BaseException:
            if anew:
                model.close()
            raise
        self._config, self._of_file, self._health.patience = new, of_file, new.unhealthy_after
        if new.model != old.model:
            self._watched = Watched(journal_of(new.path))
        for name in changes.closed:
            self._cameras.close(name)
        for camera in changes.opened:
            self._cameras.open_or_wait(camera)
        for sentence in changes.restarts():
            self._log.line(sentence, "config", "warning")
        self._log.line(f"the file was read again: {changes.sentence()}", "config")

    def _take_over(self, model: RunningModel, new: ServiceConfig, recorded: Sequence[CameraConfig]) -> None:
        """Have a model take over, or another detector of the present one if other things are asked of it from now on.

        Args:
            model: the model.
            new: what is asked.
            recorded: cameras that are closed first, since their recordings are of one detector.
        """
        score = lowest_score(new, model.engine.spec)
        for camera in recorded:
            self._cameras.close(camera.name)
        try:
            if model is not self._seat.model:
                self._seat.take_over(model, score, new.records)
                self._log.line(str(model), "model")
            elif self._asked(new) != self._asked(self._config):
                self._seat.take_over(model, score, new.records)
        except BaseException:
            for camera in recorded:
                self._cameras.open_or_wait(camera)
            raise

    def _asked(self, config: ServiceConfig) -> tuple[float, bool]:
        """Return what is asked of a detector of the model that works: the lowest score, and whether it keeps traces."""
        return lowest_score(config, self._seat.model.engine.spec), config.records

    def _working(self) -> tuple[Identity, float]:
        model = self._seat.model
        return identity_of(model.path, model.engine), self._asked(self._config)[0]

    def _verdict(self) -> tuple[bool, dict[str, object]]:
        return self._health.verdict(self._loop.report().cameras)

    def _metrics(self) -> str:
        return exposition(self._families())

    def _families(self) -> Iterator[Family]:
        model = self._seat.model
        engine = model.engine
        yield info_family(
            version=__version__, model=str(model.path), backend=engine.backend, precision=engine.precision
        )
        reports = self._loop.report().cameras
        for families in (camera_families, duration_families, output_families):
            yield from families(reports)
        yield from service_families(self._cameras.waiting, self._reloads, self._verdict()[0])
        yield from heat_families(self._heat.latest, self._relief.one_in)
        yield from process_families()

    def _status(self) -> str:
        reports = self._loop.report().cameras
        told = [f"{name} {report.fps_now:.0f} FPS" for name, report in reports.items()]
        told += [f"{name} waiting" for name in self._cameras.waiting]
        return ", ".join(told)
