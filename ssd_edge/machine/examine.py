"""Run probes side by side; a probe that fails or hangs affects only its own row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Thread
from time import monotonic
from typing import Generic, TypeVar

from ssd_edge.errors import SsdEdgeError
from ssd_edge.machine import (
    cameras,
    cuda,
    disk,
    display,
    jetson,
    nvidia,
    packages,
    processor,
    temperature,
    video,
)
from ssd_edge.machine.finding import Finding
from ssd_edge.machine.host import PATIENCE, Host, UnansweredError

SECONDS = PATIENCE + 0.3
"""Seconds after which a probe is no longer waited for, not counting the start of Python. Each probe asks one question
that may hang, and such questions end by themselves after ``PATIENCE``, so that mostly no thread is left behind."""

Probe = Callable[[Host], list[Finding]]

PROBES: dict[str, Probe] = {
    "Jetson": jetson.probe,
    "power mode": jetson.probe_power,
    "GPU": nvidia.probe,
    "GPU state": nvidia.probe_state,
    "libraries": cuda.probe,
    "processor": processor.probe,
    "temperature": temperature.probe,
    "cameras": cameras.probe,
    "video": video.probe,
    "OpenCV": video.probe_opencv,
    "display": display.probe,
    "disk": disk.probe,
    "Python": packages.probe,
}
"""Probes by the title of their section; a section without findings is left out of the report."""

_Answer = TypeVar("_Answer")


def examine(host: Host, probes: Mapping[str, Probe] = PROBES, seconds: float = SECONDS) -> dict[str, list[Finding]]:
    """Run all probes, and return their findings by section, in the order of the probes."""
    answers = side_by_side(host, probes, seconds)
    sections = {
        name: [Finding(name, str(answer), "unknown")] if isinstance(answer, UnansweredError) else answer
        for name, answer in answers.items()
    }
    return {name: findings for name, findings in sections.items() if findings}


def side_by_side(
    host: Host, questions: Mapping[str, Callable[[Host], _Answer]], seconds: float = SECONDS
) -> dict[str, _Answer | UnansweredError]:
    """Ask all questions at once; return each answer, or an error if the question failed or took too long."""
    threads = {name: _Asking(host, question) for name, question in questions.items()}
    for thread in threads.values():
        thread.start()
    began = monotonic()
    answers: dict[str, _Answer | UnansweredError] = {}
    for name, thread in threads.items():
        # The start of a child's Python is not counted: while one starts, the deadline moves on with it.
        while thread.is_alive() and (left := began + host.start_up() + seconds - monotonic()) > 0:
            thread.join(left)
        late = UnansweredError(f"no answer within {seconds:g} s")
        answers[name] = late if thread.answer is None else thread.answer
    return answers


class _Asking(Thread, Generic[_Answer]):
    """Thread of one question; a daemon, so that a hanging question does not keep the program from ending."""

    def __init__(self, host: Host, question: Callable[[Host], _Answer]) -> None:
        super().__init__(daemon=True)
        self._host, self._question = host, question
        self.answer: _Answer | UnansweredError | None = None

    def run(self) -> None:
        """See ``Thread``."""
        try:
            self.answer = self._question(self._host)
        except SsdEdgeError as error:
            self.answer = UnansweredError(str(error))
        except Exception as error:  # a bug in a probe, or a system file in an unknown form
            self.answer = UnansweredError(f"this check failed: {type(error).__name__}: {error}")
