"""A candidate in its child process, as the loop's process sees it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

from ssd_edge.detections import Detections
from ssd_edge.errors import BackendError, SwapError
from ssd_edge.pixels import Pixels, to_bgr
from ssd_edge.swap.wire import detections_of, frame_message, receive, send

PROGRAM = (sys.executable, "-m", "ssd_edge.swap.child")
STARTING = 300.0
"""Seconds that a candidate has to load and to prove itself."""

ANSWERING = 5.0
"""Seconds after which an answer to a frame counts as hung."""


class Answer(NamedTuple):
    """What the candidate says of a frame.

    Attributes:
        detections: what it found.
        seconds: its time, in its process.
        other: the old engine's time there, if it was measured.
        resident: bytes of its process.
    """

    detections: Detections
    seconds: float
    other: float | None
    resident: int


class _Question:
    def __init__(self, pixels: Pixels, pair: bool) -> None:
        self.pixels, self.pair = pixels, pair
        self.answered = threading.Event()
        self.answer: Answer | None = None
        self.error = ""


class Remote(AbstractContextManager["Remote"]):
    """A candidate that detects in another process; any thread may ask it, and is answered in turn.

    Args:
        model: its bundle.
        min_score: lowest score that is read.
        beside: the bundle that works now, to measure its time beside the candidate's; None for no measurement.
        program: what is started; see ``child``.
        patience: seconds after which an answer counts as hung.
    """

    def __init__(
        self,
        model: Path,
        min_score: float,
        beside: Path | None = None,
        program: Sequence[str] = PROGRAM,
        patience: float = ANSWERING,
    ) -> None:
        request = {
            "model": str(model.absolute()),
            "min_score": min_score,
            "beside": None if beside is None else str(beside.absolute()),
        }
        self._patience = patience
        self._questions: SimpleQueue[_Question | None] = SimpleQueue()
        self._dead = ""
        self._said = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - closed in close
        self._process = subprocess.Popen(
            [*program, json.dumps(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            # A file in the current folder must not be imported in place of a library.
            env={**os.environ, "PYTHONSAFEPATH": "1"},
        )
        self._thread = threading.Thread(target=self._serve, name="candidate", daemon=True)

    def begin(self, patience: float = STARTING) -> dict[str, Any]:
        """Wait until the candidate has loaded and proven itself; returns its ``backend``, ``precision`` and ``labels``.

        Raises:
            SwapError: it has not, and why.
        """
        assert self._process.stdout is not None
        hung = threading.Timer(patience, self._process.kill)
        hung.start()
        try:
            header, _ = receive(self._process.stdout)
        finally:
            hung.cancel()
        if not header:
            raise SwapError(f"its process {self._end()} before it was ready")
        if "error" in header:
            raise SwapError(str(header["error"]))
        self._thread.start()
        return header

    def submit(self, pixels: Pixels, pair: bool = False) -> Callable[[], Answer]:
        """Have it detect in a frame; the returned function waits for the answer.

        Args:
            pixels: the frame.
            pair: whether the old engine's time is measured too.

        Raises:
            BackendError: raised by the returned function: it failed, died or hung.
        """
        question = _Question(pixels, pair)
        self._questions.put(question)

        def answer() -> Answer:
            if not question.answered.wait(self._patience):
                self._dead = self._dead or f"it gave no answer for {self._patience:g} s"
                self._process.kill()
                raise BackendError(self._dead)
            if question.answer is None:
                raise BackendError(question.error)
            return question.answer

        return answer

    def close(self) -> None:
        """End the process; may be called twice, and by any thread."""
        self._dead = self._dead or "it was ended"
        self._questions.put(None)
        self._process.kill()
        self._process.wait()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()
        for stream in (self._process.stdin, self._process.stdout, self._said):
            with suppress(OSError):
                if stream is not None:
                    stream.close()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _serve(self) -> None:
        while (question := self._questions.get()) is not None:
            try:
                question.answer = self._asked(question)
            except BackendError as error:
                question.error = str(error)
            except (OSError, ValueError, KeyError):
                self._dead = self._dead or f"its process {self._end()}"
                question.error = self._dead
            question.answered.set()

    def _asked(self, question: _Question) -> Answer:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self._dead:
            raise BackendError(self._dead)
        header, content = frame_message(to_bgr(question.pixels))
        send(self._process.stdin, {**header, "pair": question.pair}, content)
        answer, arrays = receive(self._process.stdout)
        if not answer:
            raise OSError
        if "error" in answer:
            raise BackendError(str(answer["error"]))
        return Answer(detections_of(answer, arrays), answer["seconds"], answer["other"], answer["resident"])

    def _end(self) -> str:
        """Say how the process ended."""
        try:
            code = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        self._said.seek(0)
        lines = [line.strip() for line in self._said if line.strip()]
        return f"{how} ({lines[-1][:200]})" if lines else how
