"""Try a candidate on a running loop, from its proof to the end of its probation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Protocol

from ssd_edge.detections import Scores
from ssd_edge.detector import Detector
from ssd_edge.engines.bundle.manifest import read_manifest
from ssd_edge.errors import SsdEdgeError, SwapError
from ssd_edge.swap.contract import Contract
from ssd_edge.swap.journal import Event, Journal, identity
from ssd_edge.swap.remote import PROGRAM, Remote
from ssd_edge.swap.shadow import Shadow
from ssd_edge.swap.switch import Switch
from ssd_edge.swap.trial import Compared, Frames, Step, Trial

_TICK = 0.2
_IDLE = 60.0  # seconds


class Seat(Protocol):
    """Where an engine works, as a trial sees it."""

    lock: threading.RLock
    """Held while it is decided which detector works."""

    def working(self) -> Working:
        """Return what works now."""

    def frames(self) -> Frames:
        """Count the loop's frames so far."""

    def install(self, detector: Detector, instead_of: Detector) -> threading.Event:
        """Have a detector take over with the next frame, unless another one than ``instead_of`` works by now.

        Returns:
            What is set once the one before has no more work.
        """

    def keep(self, model: Path) -> threading.Event:
        """Open a bundle in this process and have it take over for good; see ``install``.

        Raises:
            SsdEdgeError: it cannot be opened here.
        """


class Working(NamedTuple):
    """The engine that works.

    Attributes:
        model: its bundle.
        detector: its detector.
        intact: whether the bundle is still the one that was opened.
        min_score: lowest score that is read.
        scores: from which on detections are shown.
    """

    model: Path
    detector: Detector
    intact: bool
    min_score: float
    scores: Scores


class News(NamedTuple):
    """What a trial tells.

    Attributes:
        event: what happened.
        text: a sentence about it.
        over: whether the trial has ended.
    """

    event: Event
    text: str
    over: bool = False


class Exchange:
    """A trial in a thread of its own.

    Args:
        seat: where the candidate is to work.
        candidate: its bundle.
        contract: the limits.
        journal: takes what happens.
        tell: takes news, by the trial's thread.
        program: the candidate's process; see ``Remote``.
    """

    def __init__(
        self,
        seat: Seat,
        candidate: Path,
        contract: Contract,
        journal: Journal,
        tell: Callable[[News], None],
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self.candidate = candidate
        self._seat, self._contract, self._journal, self._tell = seat, contract, journal, tell
        self._program = program
        self._cancelled, self._why = threading.Event(), ""
        self._lock = threading.Lock()  # of the trial, which several threads tell what they see
        self._remote: Remote | None = None
        self._begun = False
        self._end = News("ended", "the trial ended", over=True)
        self._content = identity(candidate)
        self.over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="swap", daemon=True)
        self._thread.start()

    def cancel(self, why: str) -> None:
        """End the trial without a verdict, with the old engine at work; does not wait."""
        self._why = self._why or why
        self._cancelled.set()
        remote = self._remote
        if remote is not None and not self._begun:
            remote.close()

    def join(self, seconds: float) -> None:
        """Wait for the end."""
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            self._try()
        except SsdEdgeError as error:
            self._say("refused", self._why or str(error), over=True)
        except Exception as error:
            self._say("refused", f"a mistake in ssd-edge ({type(error).__name__}: {error})", over=True)
        finally:
            self.over.set()
            self._tell(self._end)

    def _try(self) -> None:
        working = self._seat.working()
        self._check(working)
        self._say("tried", "its files are whole, and its classes are the same; it proves itself")
        with ExitStack() as stack:
            beside = working.model if working.intact else None
            remote = self._remote = Remote(self.candidate, working.min_score, beside, self._program)
            stack.callback(remote.close)
            about = remote.begin()
            self._begun = True
            if self._cancelled.is_set():
                raise SwapError(self._why)
            self._check_labels(working, tuple(about["labels"]))
            self._say("tried", f"{about['backend']} {about['precision']} holds its proof; it runs in the shadow")
            self._judge(stack, remote)

    def _check(self, working: Working) -> None:
        self._check_labels(working, read_manifest(self.candidate).spec.labels)

    @staticmethod
    def _check_labels(working: Working, labels: tuple[str, ...]) -> None:
        wanted = working.detector.spec.labels
        if labels != wanted:
            raise SwapError(
                f"its classes are {_some(labels)}, and those that run are {_some(wanted)}: an engine of other classes "
                "needs a restart with its name in the service's file"
            )

    def _judge(self, stack: ExitStack, remote: Remote) -> None:
        trial = Trial(self._contract, self._seat.frames())

        def compared(one: Compared) -> None:
            with self._lock:
                trial.compare(one)

        def failed(why: str) -> None:
            with self._lock:
                trial.fail(why)

        with self._seat.lock:
            working = self._seat.working()  # a reload may have been faster
            shadow = stack.enter_context(Shadow(self._contract.share))
            switch = Switch(working.detector, remote, shadow, working.scores, compared, failed)
            self._seat.install(switch, working.detector)
        step: Step | None = None
        try:
            while step is None or step.action == "take over":
                if step is not None:
                    self._say("took over", step.why)  # first: what ends this process then is in the journal
                    switch.take_over()
                if self._cancelled.wait(_TICK):
                    failed(self._why)
                with self._lock:
                    step = trial.look(self._seat.frames())
            if step.action == "keep":
                shadow.close()
                step = self._kept(step)
        finally:
            if step is None or step.action != "keep":
                switch.go_back()
                with self._seat.lock:
                    idle = self._seat.install(working.detector, switch)
                idle.wait(_IDLE)
        if step.action != "keep":
            self._say("refused" if step.action == "refuse" else "went back", step.why, over=True)

    def _kept(self, step: Step) -> Step:
        """Have the candidate work in this process; returns what became of it."""
        try:
            if identity(self.candidate) != self._content:
                raise SwapError("its files were changed during its probation")
            with self._seat.lock:
                if self._cancelled.is_set():
                    raise SwapError(self._why)
                idle = self._seat.keep(self.candidate)
        except SsdEdgeError as error:
            return Step("go back", str(error))
        idle.wait(_IDLE)
        self._say("kept", step.why, over=True)
        return step

    def _say(self, event: Event, text: str, over: bool = False) -> None:
        if over and event != "kept" and self._cancelled.is_set():
            event = "ended"
        try:
            self._journal.write(event, self.candidate, self._content, text)
        except OSError as error:
            text += f" (the journal cannot be written: {error.strerror})"
        news = News(event, text, over)
        if over:
            self._end = news  # told once everything is closed, since the next trial may begin then
        else:
            self._tell(news)


def _some(labels: tuple[str, ...], most: int = 8) -> str:
    told = ", ".join(labels[:most])
    return told if len(labels) <= most else f"{told}, … ({len(labels)})"
