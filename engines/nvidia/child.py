"""A compiler in a process of its own: whatever ends that one is a sentence here.

The parent starts ``python -m MODULE REQUEST``, a request in JSON. The child answers on stdout, a JSON object a line:
``{"progress": [done, total]}`` any number of times, and at the end ``{"facts": {…}}`` or ``{"error": "one sentence"}``.
NVIDIA's parsers and compilers end their process where they meet what they cannot handle, and this one may end.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from ssd_edge.engines.base import Progress
from ssd_edge.errors import BackendError, SsdEdgeError


def ask_child(module: str, library: str, request: Mapping[str, Any], progress: Progress) -> dict[str, str]:
    """The facts that a child answers with; Ctrl-C ends it too.

    Args:
        module: which calls ``answer`` when it is run.
        library: its name for people.
        request: for the child; ``source`` is the path of what is compiled.
        progress: called with (done, total).

    Raises:
        BackendError: the sentence that the child ended with, or how it died.
    """
    # A file in the folder where the user happens to be must not pass for a library.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        child = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(request)],
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env=environment,
        )
        try:
            found = _last_answer(child, progress)
            child.wait()
        finally:
            child.kill()
            child.wait()
            if child.stdout:
                child.stdout.close()
        if "facts" in found:
            facts: dict[str, str] = found["facts"]
            return facts
        if "error" in found:
            raise BackendError(str(found["error"]))
        name = Path(request["source"]).name
        raise BackendError(
            f"{library} died of {_cause(child.returncode)} while it compiled {name}{_last_line(said)}: "
            "nothing was written"
        )


def answer(work: Callable[[dict[str, Any], Progress], dict[str, str]]) -> None:
    """The child's part: do the work of the request in the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the library prints is no answer

    def say(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")

    try:
        facts = work(json.loads(sys.argv[1]), lambda done, total: say({"progress": [done, total]}))
    except MemoryError:
        say({"error": "there is not enough memory to build this plan"})
    except (SsdEdgeError, OSError) as error:
        say({"error": " ".join(str(error).split())})
    else:
        say({"facts": facts})


def _last_answer(child: subprocess.Popen[str], progress: Progress) -> dict[str, Any]:
    assert child.stdout is not None
    found: dict[str, Any] = {}
    for line in child.stdout:
        found = json.loads(line)
        if "progress" in found:
            progress(*found["progress"])
    return found


def _cause(code: int) -> str:
    if code == -signal.SIGKILL:
        return "SIGKILL, as the system does where memory runs out"
    return signal.Signals(-code).name if code < 0 else f"an error of its own, exit code {code}"


def _last_line(said: IO[str]) -> str:
    said.seek(0)
    lines = [line.strip() for line in said if line.strip()]
    return f" ({lines[-1]})" if lines else ""
