"""The engine of a running service with what works on it: the loop, relief in heat, and trials of other engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from time import monotonic

from ssd_edge.engines.identity import identity_of
from ssd_edge.loop.degrade import Policy, ladder
from ssd_edge.loop.relief import Relief
from ssd_edge.loop.run import CameraLoop
from ssd_edge.machine.readings import Readings
from ssd_edge.replay.schema import Identity
from ssd_edge.service.cameras import lowest_score
from ssd_edge.service.config import ServiceConfig
from ssd_edge.service.log import Log
from ssd_edge.service.model import RunningModel, Stamp
from ssd_edge.service.seat import EngineSeat
from ssd_edge.service.swaps import Swaps
from ssd_edge.swap.journal import identity, journal_of
from ssd_edge.swap.versions import Watched, is_folder_of_models, start_model

_WATCH_EVERY = 1.0  # seconds between looks for a newer engine
_ONE_ENGINE = (
    "record keeps the run of one engine, so that none can be exchanged by a trial: take record out of the service's "
    "file, or name the new engine there"
)


class EngineRoom(AbstractContextManager["EngineRoom"]):
    """Opens a service's engine and the loop that it works in, and holds both until it is closed.

    Args:
        in_force: gives the service's file as it is in force.
        log: takes lines.
        program: gives the process of an engine that is tried; see ``swap.remote.Remote``.

    Attributes:
        loop: the loop.
        swaps: trials of other engines.

    Raises:
        SsdEdgeError: the model cannot run here.
    """

    def __init__(self, in_force: Callable[[], ServiceConfig], log: Log, program: Callable[[], Sequence[str]]) -> None:
        self._in_force, self._log = in_force, log
        config = in_force()
        journal = journal_of(config.path)
        model = self.opened(start_model(config.model, journal))
        try:
            score = lowest_score(config, model.engine.spec)
            detector = model.detector(score, config.records)
            self.loop = CameraLoop(detector, log.note("service", "warning"), lasting=True)
            policy, note = Policy(ladder(config.degrade == "engine")), log.note("machine", "warning")
            self._relief = Relief(self.loop, policy, model.smaller_detector(score), note)
            self._seat = EngineSeat(model, detector, self.loop, self._relief, in_force, self.opened)
        except BaseException:
            model.close()
            raise
        self.swaps = Swaps(
            self._seat,
            lambda: in_force().contract,
            journal,
            log,
            program,
            lambda: _ONE_ENGINE if in_force().records else "",
        )
        self._closes = ExitStack()
        self._closes.callback(self._seat.close)
        self._closes.enter_context(self.loop)
        self._closes.callback(self.swaps.close)
        self._closes.callback(self._seat.loop_ended)
        self._of_file = config.model, model.stamp
        self._journal, self._watched, self._looked = journal, Watched(journal), float("-inf")
        log.line(str(model), "model")
        with suppress(OSError):  # said by the first trial
            journal.write("started", model.path, identity(model.path))

    @property
    def model(self) -> RunningModel:
        """The model that works."""
        return self._seat.model

    @property
    def one_in(self) -> int:
        """One frame of so many is processed; see ``Relief``."""
        return self._relief.one_in

    def opened(self, path: Path) -> RunningModel:
        """Open a bundle as the service's model; errors as of ``RunningModel``."""
        config = self._in_force()
        return RunningModel(path, self._log.note("model", "warning"), config.degrade == "engine", config.fallback)

    def heed(self, readings: Readings) -> None:
        """Do less, or more again, as the machine's heat allows."""
        if self._in_force().degrade != "off":
            self._relief.heed(readings)

    def asked(self, config: ServiceConfig) -> tuple[float, bool]:
        """Return what a file asks of a detector of the model that works: the lowest score, and whether it keeps traces.

        Raises:
            WatchError: a camera watches a class that the model does not have.
        """
        return lowest_score(config, self.model.engine.spec), config.records

    def working(self) -> tuple[Identity, float]:
        """Return what works, and the lowest score that is asked of it."""
        model = self.model
        return identity_of(model.path, model.engine), self.asked(self._in_force())[0]

    def is_another(self, named: tuple[Path, Stamp]) -> bool:
        """Tell whether a model that the file names, with its stamp, is to be opened in place of the one that works."""
        working = self.model
        return named not in (self._of_file, (working.path, working.stamp)) and not is_folder_of_models(named[0])

    def take_over(self, model: RunningModel, config: ServiceConfig) -> None:
        """Have a model take over, or another detector of the present one if a file asks other things of it.

        Raises:
            ModelError: the labels differ.
            WatchError: a camera watches a class that the model does not have.
        """
        score = lowest_score(config, model.engine.spec)
        if model is not self.model:
            self._seat.take_over(model, score, config.records)
            self._log.line(str(model), "model")
        elif self.asked(config) != self.asked(self._in_force()):
            self._seat.take_over(model, score, config.records)

    def note_file(self, named: tuple[Path, Stamp]) -> None:
        """Note the model that the file names now, with its stamp."""
        if named[0] != self._of_file[0]:
            self._watched = Watched(self._journal)
        self._of_file = named

    def look_for_models(self) -> None:
        """Try a newer engine that was copied into the folder of models."""
        config, now = self._in_force(), monotonic()
        if not config.watch_models or self.swaps.busy or now - self._looked < _WATCH_EVERY:
            return
        self._looked = now
        found = self._watched.look(config.model, self.model.path)
        if found is not None:
            self.swaps.begin(found)

    def __exit__(self, *exception: object) -> None:
        self._closes.close()
