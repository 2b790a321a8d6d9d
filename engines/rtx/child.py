"""Runs ``compile`` as a child process: whatever ends that one is a sentence here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from ssd_edge.engines.base import Progress
from ssd_edge.errors import BackendError

COMMAND = (sys.executable, "-m", "ssd_edge.engines.rtx.compile")


def compile_in_child(
    source: Path, plan: Path, precision: str, compute_capabilities: Sequence[str], progress: Progress
) -> dict[str, str]:
    """What ``compile.compile_plan`` does, in a process that may crash; Ctrl-C ends it too.

    Raises:
        BackendError: the sentence that the child ended with, or how it died.
    """
    request = {
        "source": str(source),
        "plan": str(plan),
        "precision": precision,
        "compute_capabilities": list(compute_capabilities),
    }
    # A file in the folder where the user happens to be must not pass for a library.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        child = subprocess.Popen(
            [*COMMAND, json.dumps(request)], stdout=subprocess.PIPE, stderr=said, text=True, env=environment
        )
        try:
            answer = _last_answer(child, progress)
            child.wait()
        finally:
            child.kill()
            child.wait()
            if child.stdout:
                child.stdout.close()
        if "facts" in answer:
            facts: dict[str, str] = answer["facts"]
            return facts
        if "error" in answer:
            raise BackendError(str(answer["error"]))
        raise BackendError(
            f"TensorRT-RTX died of {_cause(child.returncode)} while it compiled {source.name}{_last_line(said)}: "
            "nothing was written"
        )


def _last_answer(child: subprocess.Popen[str], progress: Progress) -> dict[str, Any]:
    assert child.stdout is not None
    answer: dict[str, Any] = {}
    for line in child.stdout:
        answer = json.loads(line)
        if "progress" in answer:
            progress(*answer["progress"])
    return answer


def _cause(code: int) -> str:
    if code == -signal.SIGKILL:
        return "SIGKILL, as the system does where memory runs out"
    return signal.Signals(-code).name if code < 0 else f"an error of its own, exit code {code}"


def _last_line(said: IO[str]) -> str:
    said.seek(0)
    lines = [line.strip() for line in said if line.strip()]
    return f" ({lines[-1]})" if lines else ""
