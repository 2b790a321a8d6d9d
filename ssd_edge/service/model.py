"""The model of a running service, which another may replace between two frames."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path

from ssd_edge.detector import Detector, Engine
from ssd_edge.engines.opening import open_model, open_smaller
from ssd_edge.files import stamp
from ssd_edge.loop.chosen import DEFAULT_SCORE
from ssd_edge.progress import Note
from ssd_edge.replay.stages import traced

Stamp = tuple[tuple[str, int, int], ...]
"""See ``stamp_of``."""


def stamp_of(path: Path) -> Stamp:
    """Return what changes when a model is written again: names, sizes and times of its files; empty if it is gone."""
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        return tuple((file.name, *stamp(file)) for file in files)
    except OSError:
        return ()


class RunningModel(AbstractContextManager["RunningModel"]):
    """An engine, and the smaller one that may relieve it, with the detectors made of them; closed with this object.

    Args:
        path: the model.
        note: takes a sentence for each better plan that was passed over.
        relieved: whether there is to be a smaller engine.
        fallback: that engine; None for a plan in fewer bits of the same bundle.

    Attributes:
        path: the model.
        stamp: see ``stamp_of``, from before it was opened.
        engine: the engine.

    Raises:
        ModelError, BundleError, BackendError: it cannot run here, or there is no smaller engine.
    """

    def __init__(self, path: Path, note: Note, relieved: bool = False, fallback: Path | None = None) -> None:
        self.path, self.stamp = path, stamp_of(path)
        self.engine: Engine = open_model(path, note)
        self._detectors: list[Detector] = []
        self._smaller: Engine | None = None
        if relieved:
            try:
                self._smaller = open_smaller(path, self.engine, fallback, note)
            except BaseException:
                self.engine.close()
                raise

    def __str__(self) -> str:
        """Name it, and what runs it."""
        return f"{os.fspath(self.path)}: {self.engine.backend} {self.engine.precision}"

    @property
    def scores(self) -> tuple[float, ...]:
        """The score from which on each class is shown, where a camera has none of its own."""
        return tuple(self.engine.spec.operating_score_of_each(DEFAULT_SCORE))

    def detector(self, min_score: float, traces: bool = False) -> Detector:
        """Make a detector.

        Args:
            min_score: lowest score that is read.
            traces: whether it keeps what recordings of frames have digests of.
        """
        return self._kept(traced(self.engine, min_score) if traces else self.engine.detector(min_score))

    def smaller_detector(self, min_score: float) -> Detector | None:
        """Make a detector of the smaller engine; None if there is none."""
        return None if self._smaller is None else self._kept(self._smaller.detector(min_score))

    def _kept(self, detector: Detector) -> Detector:
        self._detectors.append(detector)
        return detector

    def close(self) -> None:
        """Close detectors and engine; nothing may be submitted to them any more. May be called twice."""
        while self._detectors:
            self._detectors.pop().close()
        if self._smaller is not None:
            self._smaller.close()
        self.engine.close()

    def __exit__(self, *exception: object) -> None:
        self.close()
