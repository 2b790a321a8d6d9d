"""Probes run side by side; one that fails or hangs costs its own row and nothing else."""

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
"""After which a probe is no longer waited for, Python's start not counted. Each asks for one thing that may hang, so
that mostly none is left behind."""

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
"""By the name of their section; a section without findings is left out."""

_Answer = TypeVar("_Answer")


def examine(host: Host, probes: Mapping[str, Probe] = PROBES, seconds: float = SECONDS) -> dict[str, list[Finding]]:
    """What there is to say of a machine, by section, in the order of the probes."""
    answers = side_by_side(host, probes, seconds)
    found = {
        name: [Finding(name, str(answer), "unknown")] if isinstance(answer, UnansweredError) else answer
        for name, answer in answers.items()
    }
    return {name: findings for name, findings in found.items() if findings}


def side_by_side(
    host: Host, questions: Mapping[str, Callable[[Host], _Answer]], seconds: float = SECONDS
) -> dict[str, _Answer | UnansweredError]:
    """The answer to each question, or why there is none: it failed, or took too long."""
    threads = {name: _Asking(host, question) for name, question in questions.items()}
    for thread in threads.values():
        thread.start()
    began = monotonic()
    answers: dict[str, _Answer | UnansweredError] = {}
    for name, thread in threads.items():
        # Python's own start is not counted: while a child starts, there are always as many seconds left.
        while thread.is_alive() and (left := began + host.start_up() + seconds - monotonic()) > 0:
            thread.join(left)
        late = UnansweredError(f"no answer within {seconds:g} s")
        answers[name] = late if thread.answer is None else thread.answer
    return answers


class _Asking(Thread, Generic[_Answer]):
    """One question; a daemon, so that a hanging one does not keep the program from ending."""

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
        except Exception as error:  # a fault of this program, or a file of a form that nobody has seen
            self.answer = UnansweredError(f"this could not be found out: {type(error).__name__}: {error}")
