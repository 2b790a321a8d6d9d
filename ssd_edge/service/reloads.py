"""Read a service's file again while the service runs, and change what differs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

from ssd_edge.errors import SsdEdgeError
from ssd_edge.service.cameras import Cameras
from ssd_edge.service.changes import changes_between, without_restart
from ssd_edge.service.check import refuse_problems
from ssd_edge.service.config import CameraConfig, InForce, ServiceConfig
from ssd_edge.service.engine_room import EngineRoom
from ssd_edge.service.health import Health
from ssd_edge.service.live_page import LivePage
from ssd_edge.service.log import Log
from ssd_edge.service.model import RunningModel, stamp_of
from ssd_edge.service.reading import read_service


class Reloads:
    """Puts a new content of the file in force. One thread at a time may use it.

    Args:
        in_force: what runs; it gets the new content.
        room: the engine.
        cameras: the cameras.
        page: the live page; None for none.
        health: gets the new patience.
        log: takes lines.
        wait: whether cameras and outputs that are not there yet are opened later; otherwise the file is refused.

    Attributes:
        counts: how often the file was read again, by outcome.
    """

    def __init__(
        self,
        in_force: InForce,
        room: EngineRoom,
        cameras: Cameras,
        page: LivePage | None,
        health: Health,
        log: Log,
        wait: bool,
    ) -> None:
        self._in_force, self._room, self._cameras, self._page = in_force, room, cameras, page
        self._health, self._log, self._wait = health, log, wait
        self.counts = {"done": 0, "refused": 0}

    def reload(self) -> None:
        """Read the file again; if it is refused, the old content goes on, and the log has why."""
        try:
            with nullcontext() if self._page is None else self._page.saving:
                read = read_service(self._in_force.config.path)
                old = self._in_force.config if self._page is None else self._page.as_saved(self._in_force.config)
            self._apply(old, read)
            self.counts["done"] += 1
        except SsdEdgeError as error:
            self.counts["refused"] += 1
            self._log.line(f"the file was read again and refused, the old one goes on: {error}", "config", "error")
        except Exception as error:  # the old file goes on, whatever it is
            self.counts["refused"] += 1
            self._log.line(f"the file was refused: {type(error).__name__}: {error}", "config", "error")

    def _apply(self, old: ServiceConfig, read: ServiceConfig) -> None:
        """Change what differs; nothing is changed if any of it cannot be.

        Args:
            old: what runs.
            read: what the file holds now.

        Raises:
            SsdEdgeError: it cannot be.
        """
        room, new = self._room, without_restart(old, read)
        named = new.model, stamp_of(new.model)
        anew = room.is_another(named)
        if anew or room.asked(new) != room.asked(old):
            room.swaps.cancel("the service's file was read again")
        working = room.model
        model = room.opened(new.model) if anew else working
        try:
            other = anew or room.asked(new) != room.asked(old)
            changes = changes_between(old, read, anew, model.scores != working.scores, other)
            if not self._wait:
                refuse_problems(changes.opened)
            self._take_over(model, new, [camera for camera in old.cameras if other and camera.record])
        except BaseException:
            if anew:
                model.close()
            raise
        self._in_force.config, self._health.patience = new, new.unhealthy_after
        room.note_file(named)
        for name in changes.closed:
            self._cameras.close(name)
        for camera in changes.opened:
            self._cameras.open_or_wait(camera)
        for sentence in changes.restarts():
            self._log.line(sentence, "config", "warning")
        self._log.line(f"the file was read again: {changes.sentence()}", "config")

    def _take_over(self, model: RunningModel, new: ServiceConfig, recorded: Sequence[CameraConfig]) -> None:
        """Have a model take over; see ``EngineRoom.take_over``.

        Args:
            model: the model.
            new: what is asked.
            recorded: cameras that are closed first, since their recordings are of one detector.
        """
        for camera in recorded:
            self._cameras.close(camera.name)
        try:
            self._room.take_over(model, new)
        except BaseException:
            for camera in recorded:
                self._cameras.open_or_wait(camera)
            raise
