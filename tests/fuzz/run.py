"""Run many damaged inputs in child processes, and say which of them end in something other than a sentence."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

BATCH = 400
_ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
"""Seconds that one input may take; the first of a process has as many again, for the imports."""
LONGEST = 2000
"""Characters of a sentence that somebody reads."""


@dataclass
class Outcome:
    """What came of the cases.

    Attributes:
        answers: number of cases of each kind that gave an answer.
        sentences: number of cases of each kind that gave a sentence.
        failures: what is wrong, by case.
    """

    answers: Counter[str] = field(default_factory=Counter)
    sentences: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Number of cases."""
        return self.answers.total() + self.sentences.total() + len(self.failures)


def cases_of(kinds: Sequence[str], number: int, seed: int) -> list[str]:
    """Name the cases of a run: all kinds in turn, each with seeds of its own."""
    return [f"{kinds[k % len(kinds)]}:{seed * 10_000_000 + k // len(kinds)}" for k in range(number)]


def run_cases(cases: Iterable[str], samples: Path, scratch: Path, until: float = float("inf")) -> Outcome:
    """Run cases in batches; ``until`` is the time of ``monotonic`` after which no case begins."""
    outcome, left = Outcome(), list(cases)
    while left and monotonic() < until:
        done = _batch(left[:BATCH], samples, scratch, outcome, until)
        left = left[max(done, 1) :]
    return outcome


def _batch(cases: Sequence[str], samples: Path, scratch: Path, outcome: Outcome, until: float) -> int:
    """Run cases in one process until it ends, hangs or dies; returns how many are done."""
    scratch.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz.child", str(samples), str(scratch), *cases]
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": path}
    with (
        (scratch / "stderr").open("wb") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment) as child,
    ):
        try:
            done, current = _follow(child, cases, outcome, until)
        finally:
            child.kill()
    if current:
        tail = (scratch / "stderr").read_bytes()[-1500:].decode(errors="replace")
        outcome.failures.setdefault(current, f"the process ended with {child.returncode}: {tail}")
        done += 1
    return done


def _follow(child: subprocess.Popen[str], cases: Sequence[str], outcome: Outcome, until: float) -> tuple[int, str]:
    """Read what the process tells; returns how many cases are done, and the one in which it ended, hung or died."""
    lines: queue.Queue[str | None] = queue.Queue()

    def forward() -> None:
        assert child.stdout is not None
        for line in child.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=forward, daemon=True).start()
    done, current, patience = 0, cases[0], 2 * PATIENCE
    while done < len(cases):
        try:
            line = lines.get(timeout=patience)
        except queue.Empty:
            outcome.failures[current] = f"no answer within {patience:.0f} seconds"
            return done, current
        if line is None:
            child.wait(PATIENCE)
            return done, current
        told = json.loads(line)
        patience = PATIENCE
        if "ends" in told:
            _note(told, outcome)
            done += 1
            if monotonic() > until:
                break
        current = cases[min(done, len(cases) - 1)]
    return done, ""


def _note(told: dict[str, str], outcome: Outcome) -> None:
    case = told["ends"]
    kind = case.partition(":")[0]
    if "traceback" in told:
        outcome.failures[case] = told["traceback"]
    elif "answer" in told:
        outcome.answers[kind] += 1
    else:
        sentence = told["sentence"]
        if not sentence or "\n" in sentence or len(sentence) > LONGEST:
            outcome.failures[case] = f"no sentence for a person: {sentence!r}"
        else:
            outcome.sentences[kind] += 1
