"""Run a service: cameras, model, pages, signals, until it is told to end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic

from ssd_edge import __version__
from ssd_edge.errors import ServiceError
from ssd_edge.loop.stats import RunReport
from ssd_edge.machine.heat import HeatRecorder
from ssd_edge.service.cameras import Cameras
from ssd_edge.service.check import refuse_problems
from ssd_edge.service.config import InForce, ServiceConfig
from ssd_edge.service.control import Control
from ssd_edge.service.engine_room import EngineRoom
from ssd_edge.service.exposition import exposition
from ssd_edge.service.health import Health
from ssd_edge.service.live_page import LivePage
from ssd_edge.service.log import Log
from ssd_edge.service.metrics import families
from ssd_edge.service.notify import Notifier
from ssd_edge.service.outputs import Openers
from ssd_edge.service.reloads import Reloads
from ssd_edge.service.signals import Event, signal_events
from ssd_edge.service.web import Pages
from ssd_edge.swap.remote import PROGRAM
from ssd_edge.web.machine import machine_at

_TICK = 0.25
_STATUS_EVERY = 10.0
_AFTER_MISTAKE = 1.0
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
        self._in_force, self._log, self._wait = InForce(config), log, wait
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._notifier, self._health = Notifier(), Health(config.unhealthy_after)
        self._openers = Openers(config.disk, log)
        self.candidates_program = candidates_program
        self._started, self._stopping = threading.Event(), threading.Event()
        self._wanted = threading.Event()  # the file is to be read again
        self._alive, self._told = _Regular(), _Regular()

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
        config = self._in_force.config
        if not self._wait:
            refuse_problems(config.cameras)
        with ExitStack() as stack, signal_events(self._events, self._started):
            room = self._room = stack.enter_context(
                EngineRoom(self._in_force, self._log, lambda: self.candidates_program)
            )
            self._loop = room.loop
            self._heat = stack.enter_context(HeatRecorder(listen=room.heed))
            page = self._opened_page(stack)
            self._cameras = Cameras(self._loop, self._openers, config.path, self._log, room.working, page)
            self._reloads = Reloads(self._in_force, room, self._cameras, page, self._health, self._log, self._wait)
            for camera in config.cameras:
                (self._cameras.open_or_wait if self._wait else self._cameras.open)(camera)
            if config.metrics is not None:
                pages = stack.enter_context(Pages(config.metrics, self._metrics, self._verdict))
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

    def _opened_page(self, stack: ExitStack) -> LivePage | None:
        config = self._in_force.config
        if config.page is None:
            return None
        say, spec = self._log.note("page", "warning"), self._loop.detector.spec
        page = stack.enter_context(LivePage(config.page, spec.labels, self._in_force, say))
        for camera in config.cameras:
            page.expect(camera, spec)
        page.measure(lambda: self._loop.report().cameras, lambda: machine_at(self._heat.latest))
        self._log.line(f"page: http://{page.address}/", "service")
        return page

    def _open_control(self, stack: ExitStack) -> None:
        """Let ``ssd-edge swap`` ask; a service whose folder cannot be written runs without."""
        try:
            stack.enter_context(Control(self._in_force.config.path, self._room.swaps.answers))
        except ServiceError as error:
            self._log.line(f"no engine can be exchanged by ssd-edge swap: {error}", "swap", "warning")

    def _on_report(self, on_report: Callable[[RunReport], None], report: RunReport) -> None:
        self._health.beat()
        on_report(report)

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
            self._notifier.reloading()
            self._reloads.reload()
            self._notifier.ready(self._status())
        self._cameras.look()
        self._room.look_for_models()
        self._health.waiting(self._cameras.waiting)
        reports = self._loop.report().cameras.values()
        if not self._cameras.waiting and reports and all(report.ended and not report.error for report in reports):
            self._loop.stop()  # recordings that have come to their end

    def _verdict(self) -> tuple[bool, dict[str, object]]:
        return self._health.verdict(self._loop.report().cameras)

    def _metrics(self) -> str:
        model = self._room.model
        what_runs = {
            "version": __version__,
            "model": str(model.path),
            "backend": model.engine.backend,
            "precision": model.engine.precision,
        }
        told = families(
            what_runs,
            self._loop.report().cameras,
            waiting=self._cameras.waiting,
            reloads=self._reloads.counts,
            healthy=self._verdict()[0],
            readings=self._heat.latest,
            one_in=self._room.one_in,
        )
        return exposition(told)

    def _status(self) -> str:
        reports = self._loop.report().cameras
        told = [f"{name} {report.fps_now:.0f} FPS" for name, report in reports.items()]
        told += [f"{name} waiting" for name in self._cameras.waiting]
        return ", ".join(told)
