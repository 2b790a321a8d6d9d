"""Run a compiler in a child process, so that its crash becomes an error sentence here.

The parent starts ``python -m MODULE REQUEST``, with the request in JSON. The child answers on stdout, one JSON object
a line: ``{"progress": [done, total]}`` any number of times, and at the end ``{"facts": {…}}`` or
``{"error": "one sentence"}``. NVIDIA's parsers and compilers abort their process on input that they cannot handle.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from ssd_edge.errors import BackendError, SsdEdgeError
from ssd_edge.progress import Progress


def ask_child(module: str, library: str, request: Mapping[str, Any], progress: Progress) -> dict[str, str]:
    """Run a request in a child process and return the facts that it answers with; Ctrl-C ends the child too.

    Args:
        module: module that calls ``answer`` when it is run.
        library: the compiler's name for people.
        request: request for the child; ``source`` is the path of the file to compile.
        progress: called with (done, total).

    Raises:
        BackendError: the sentence that the child ended with, or how it died.
    """
    # A file in the current folder must not be imported in place of a library.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    with tempfile.TemporaryFile("w+", errors="replace") as child_stderr:
        child = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(request)],
            stdout=subprocess.PIPE,
            stderr=child_stderr,
            text=True,
            env=environment,
        )
        try:
            last = _last_answer(child, progress)
            child.wait()
        finally:
            child.kill()
            child.wait()
            if child.stdout:
                child.stdout.close()
        if "facts" in last:
            facts: dict[str, str] = last["facts"]
            return facts
        if "error" in last:
            raise BackendError(str(last["error"]))
        name = Path(request["source"]).name
        raise BackendError(
            f"{library} died of {_cause(child.returncode)} while it compiled {name}{_last_line(child_stderr)}: "
            "nothing was written"
        )


def answer(work: Callable[[dict[str, Any], Progress], dict[str, str]]) -> None:
    """Do the work of the request in ``sys.argv[1]`` and write the answers; called in the child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # output that the library prints goes to stderr, apart from the answers

    def say(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")

    try:
        facts = work(json.loads(sys.argv[1]), lambda done, total, stage="": say({"progress": [done, total]}))
    except MemoryError:
        say({"error": "there is not enough memory to build this plan"})
    except (SsdEdgeError, OSError) as error:
        say({"error": " ".join(str(error).split())})
    else:
        say({"facts": facts})


def serve(
    library: str, module: str, compile_plan: Callable[[Any, Progress, Any], dict[str, str]], request: type
) -> None:
    """Answer with what a compiler makes of the request; the ``main`` of both compilers' processes.

    Args:
        library: name of the library, for errors.
        module: its Python module.
        compile_plan: called with the request, a progress and the module.
        request: type of the request.
    """

    def work(asked: dict[str, Any], progress: Progress) -> dict[str, str]:
        try:
            loaded = import_module(module)
        except ImportError as error:
            raise BackendError(f"{library} cannot be loaded: {error}") from None
        return compile_plan(request(**asked), progress, loaded)

    answer(work)


def _last_answer(child: subprocess.Popen[str], progress: Progress) -> dict[str, Any]:
    assert child.stdout is not None
    last: dict[str, Any] = {}
    for line in child.stdout:
        last = json.loads(line)
        if "progress" in last:
            progress(*last["progress"])
    return last


def _cause(code: int) -> str:
    if code == -signal.SIGKILL:
        return "SIGKILL, as the system does where memory runs out"
    return signal.Signals(-code).name if code < 0 else f"an error of its own, exit code {code}"


def _last_line(stream: IO[str]) -> str:
    stream.seek(0)
    lines = [line.strip() for line in stream if line.strip()]
    return f" ({lines[-1]})" if lines else ""
