"""The detector of a loop during a trial: the old engine works and the candidate is its shadow, then the reverse."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from time import perf_counter

import numpy as np
import numpy.typing as npt

from ssd_edge.agreement import unmatched
from ssd_edge.detections import Detections, Scores
from ssd_edge.detector import Detector, Result, StageTimes, check_batch
from ssd_edge.errors import SsdEdgeError
from ssd_edge.pixels import Pixels
from ssd_edge.swap.remote import Answer, Remote
from ssd_edge.swap.shadow import Shadow
from ssd_edge.swap.trial import Compared


class Switch(Detector):
    """Gives each frame to the engine whose turn it is, and some of them to the other one too.

    No frame is lost: a frame with which the candidate fails is done again by the old engine, which has all frames from
    then on. The old engine is never asked by two threads at once, and its results are fetched in order.

    Args:
        old: the detector that works now; it stays open.
        candidate: the new one; it stays open.
        shadow: has time for comparing.
        scores: from which on detections are compared, one for each class or for all.
        compared: takes each comparison, by the shadow's thread.
        failed: takes why the candidate failed, by any thread.
    """

    def __init__(
        self,
        old: Detector,
        candidate: Remote,
        shadow: Shadow,
        scores: Scores,
        compared: Callable[[Compared], None],
        failed: Callable[[str], None],
    ) -> None:
        self.spec, self.depth, self.max_batch = old.spec, old.depth, old.max_batch
        self._old, self._candidate, self._shadow = old, candidate, shadow
        self._scores, self._compared, self._failed = scores, compared, failed
        self._taken_over = False
        self._to_redo = 0  # submissions without a result that the old engine may have to do at their end
        self._old_works = threading.Lock()  # held while the old engine is called for a comparison, or instead of it

    @property
    def reads(self) -> Collection[str]:  # type: ignore[override]
        """See ``Reader``."""
        return self._old.reads

    def memory(self, nbytes: int) -> npt.NDArray[np.uint8]:
        """See ``Reader``."""
        return self._old.memory(nbytes)

    def take_over(self) -> None:
        """Have the candidate do the work from the next frame on."""
        self._taken_over = True

    def go_back(self) -> None:
        """Have the old engine do the work from the next frame on."""
        self._taken_over = False

    def submit(self, frame: Pixels) -> Callable[[], Result]:
        """See ``Detector``."""
        finish = self.submit_batch([frame])
        return lambda: finish()[0]

    def submit_batch(self, frames: Sequence[Pixels]) -> Callable[[], list[Result]]:
        """See ``Detector``."""
        check_batch(frames, self.max_batch)
        frames = list(frames)
        if self._taken_over:
            # Times are comparable only where both engines work in one process, in turns.
            pair = self._shadow.free
            answers = [self._candidate.submit(frame, pair) for frame in frames]
            return self._later(lambda: self._of_candidate(frames, answers, perf_counter(), pair))
        if self._to_redo:  # the old engine may be needed for an older frame first
            return self._later(lambda: self._of_old(frames))
        with self._old_works:
            finish = self._old.submit_batch(frames)

        def results() -> list[Result]:
            done = finish()
            self._show_candidate(frames[-1], done[-1].detections)
            return done

        return results

    def _later(self, work: Callable[[], list[Result]]) -> Callable[[], list[Result]]:
        self._to_redo += 1

        def results() -> list[Result]:
            try:
                return work()
            finally:
                self._to_redo -= 1

        return results

    def _of_candidate(
        self, frames: list[Pixels], answers: list[Callable[[], Answer]], began: float, pair: bool
    ) -> list[Result]:
        results = []
        for frame, finish in zip(frames, answers, strict=True):
            try:
                answer = finish()
            except SsdEdgeError as error:
                self.go_back()
                self._failed(str(error))
                results += self._of_old([frame])
                continue
            results.append(Result(answer.detections, StageTimes(0.0, perf_counter() - began, 0.0)))
            if pair:
                self._show_old(frame, answer)
        return results

    def _of_old(self, frames: list[Pixels]) -> list[Result]:
        with self._old_works:
            return [self._old.submit(frame)() for frame in frames]

    def _show_candidate(self, frame: Pixels, expected: Detections) -> None:
        """Have the candidate see a frame that the old engine has done."""

        def work() -> None:
            if self._taken_over:
                return
            try:
                answer = self._candidate.submit(frame, pair=True)()
            except SsdEdgeError as error:
                self._failed(str(error))
                return
            self._compare(answer, expected)

        self._shadow.offer(work)

    def _show_old(self, frame: Pixels, answer: Answer) -> None:
        """Have the old engine see a frame that the candidate has done."""

        def work() -> None:
            with self._old_works:
                if not self._taken_over:  # it does the work again, and must not be asked by this thread
                    return
                try:
                    expected = self._old(frame)
                except SsdEdgeError:
                    return  # the candidate is not to blame
            self._compare(answer, expected)

        self._shadow.offer(work)

    def _compare(self, answer: Answer, expected: Detections) -> None:
        own, theirs = answer.detections.above(self._scores), expected.above(self._scores)
        total = len(own) + len(theirs)
        self._compared(Compared(unmatched(own, theirs), total, answer.seconds, answer.other, answer.resident))
