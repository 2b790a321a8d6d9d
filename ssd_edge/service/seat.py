"""The place of the engine in a running service: which detector works, and how another one takes over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ssd_edge.detector import Detector
from ssd_edge.loop.relief import Relief
from ssd_edge.loop.run import CameraLoop
from ssd_edge.service.cameras import lowest_score
from ssd_edge.service.config import ServiceConfig
from ssd_edge.service.model import RunningModel, stamp_of
from ssd_edge.swap.exchange import Working
from ssd_edge.swap.trial import Frames


class EngineSeat:
    """The engine that works in a loop, and what replaces it; see ``swap.exchange.Seat``.

    Args:
        model: the model that works.
        detector: its detector, which the loop has.
        loop: the loop.
        relief: exchanges it for a smaller one, and back.
        config: gives the service's file as it is now.
        open_model: opens a bundle as the service's model.

    Attributes:
        model: the model that works.
        lock: held while it is decided which detector works.
    """

    def __init__(
        self,
        model: RunningModel,
        detector: Detector,
        loop: CameraLoop,
        relief: Relief,
        config: Callable[[], ServiceConfig],
        open_model: Callable[[Path], RunningModel],
    ) -> None:
        self.model, self.lock = model, threading.RLock()
        self._detector, self._loop, self._relief = detector, loop, relief
        self._config, self._open_model = config, open_model
        self._loop_over = False

    def working(self) -> Working:
        """See ``Seat``."""
        config, model = self._config(), self.model
        lowest = lowest_score(config, model.engine.spec)
        own = [camera.min_score for camera in config.cameras if camera.min_score is not None]
        scores = min(own) if len(own) == len(config.cameras) else np.asarray(model.scores, np.float32)
        return Working(model.path, self._detector, model.stamp == stamp_of(model.path), lowest, scores)

    def frames(self) -> Frames:
        """See ``Seat``."""
        reports = self._loop.report().cameras.values()
        return Frames(
            sum(report.ledger.get("too_old", 0) for report in reports), sum(report.processed for report in reports)
        )

    def install(self, detector: Detector, instead_of: Detector) -> threading.Event:
        """See ``Seat``."""
        with self.lock:
            idle = threading.Event()
            if self._detector is not instead_of or self._loop_over:
                idle.set()
                return idle
            self._relief.renew_full(detector, lambda _: idle.set())
            self._detector = detector
            return idle

    def keep(self, model: Path) -> threading.Event:
        """See ``Seat``."""
        new = self._open_model(model)
        try:
            return self.take_over(new, lowest_score(self._config(), new.engine.spec))
        except BaseException:
            new.close()
            raise

    def take_over(self, model: RunningModel, score: float, traces: bool = False) -> threading.Event:
        """Have a model take over, or another detector of the present one; ``score`` and ``traces`` as of a detector.

        Returns:
            What is set once the one before has no more work; it is closed then if it is another model.

        Raises:
            ModelError: the labels differ.
        """
        with self.lock:
            old, idle, detector = self.model, threading.Event(), model.detector(score, traces)

            def when_idle(_: Detector) -> None:
                if old is not model:
                    old.close()
                idle.set()

            self._relief.renew(detector, model.smaller_detector(score), when_idle)
            self.model, self._detector = model, detector
            if self._loop_over:
                idle.set()
            return idle

    def loop_ended(self) -> None:
        """Note that the loop takes no more frames, so that nothing is waited for."""
        with self.lock:
            self._loop_over = True

    def close(self) -> None:
        """Close the model that works."""
        self.model.close()
