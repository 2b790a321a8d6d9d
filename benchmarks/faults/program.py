"""``ssd-edge run`` as a process of its own, with the times at which its lines came."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
MAIN = "from ssd_edge.cli.main import main; main()"
_START = 60.0  # seconds for its first frame
_END = 20.0  # seconds for its end
PIPE = 4096
"""Bytes of its standard output's pipe, so that a blocked one is full soon."""


class Program:
    """A running ``ssd-edge run``, which writes JSON lines to standard output unless told otherwise.

    Args:
        engine: the engine.
        source: its ``--camera``.
        arguments: further options.
        before: Python code that runs first in the process.
        environment: variables beside those of this process.
        lines_to: file for the JSON lines; by default they are read from standard output.

    Attributes:
        lines: time, index and content of each JSON line that came.
        broken: what came in place of JSON lines.
        said: time and text of each line on standard error.
        seconds_to_end: how long it took to end.
    """

    def __init__(
        self,
        engine: Path,
        source: str,
        *arguments: str,
        before: str = "",
        environment: dict[str, str] | None = None,
        lines_to: Path | None = None,
    ) -> None:
        options = ["--camera", source, "--no-window", "--min-score", "1", "--save-json", str(lines_to or "-")]
        self.lines: list[tuple[float, dict[str, Any]]] = []
        self.broken: list[str] = []
        self.said: list[tuple[float, str]] = []
        self.seconds_to_end = 0.0
        self.reading = threading.Event()
        self.reading.set()
        folders = [str(ROOT), str(ROOT / "benchmarks"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"{before}\n{MAIN}", "run", str(engine), *options, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "COLUMNS": "250", "PYTHONPATH": os.pathsep.join(folders), **(environment or {})},
            # A shell's background jobs ignore Ctrl-C, and their children with them.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        fcntl.fcntl(self._process.stdout, getattr(fcntl, "F_SETPIPE_SZ", 1031), PIPE)
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout, self._json), daemon=True),
            threading.Thread(target=self._read, args=(self._process.stderr, self._text), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[bytes], note: Callable[[float, str], None]) -> None:
        while text := stream.readline():
            note(monotonic(), text.decode(errors="replace").rstrip("\n"))
            if note == self._json:
                self.reading.wait()

    def _json(self, when: float, text: str) -> None:
        try:
            self.lines.append((when, json.loads(text)))
        except ValueError:
            self.broken.append(text)

    def _text(self, when: float, text: str) -> None:
        if text.strip():
            self.said.append((when, text.strip()))

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def wait_until(self, done: Callable[[], bool], seconds: float) -> bool:
        """Wait until something holds, it ends, or the time is over; tell whether it holds."""
        until = monotonic() + seconds
        while self.running and monotonic() < until and not done():
            sleep(0.02)
        return done()

    def wait_for_start(self, frames: int = 40) -> None:
        """Wait for its first frames.

        Raises:
            RuntimeError: it ended, or gave none.
        """
        if not self.wait_until(lambda: len(self.lines) >= frames, _START):
            raise RuntimeError("ssd-edge run gave no frames: " + " / ".join(text for _, text in self.said))

    def wait_for_frames_after(self, when: float, seconds: float = 15.0, frames: int = 5) -> None:
        """Wait for lines that come later than a moment."""
        self.wait_until(lambda: len(self.lines) >= frames and self.lines[-frames][0] > when, seconds)

    def send(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def end(self, number: int = signal.SIGINT) -> int:
        """Send a signal, and wait for the end; kill it where none comes.

        Returns:
            The exit code; negative for the signal that killed it.
        """
        began = monotonic()
        if self.running:
            self.send(number)
        try:
            self._process.wait(_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.seconds_to_end = monotonic() - began
        self.reading.set()
        for reader in self._readers:
            reader.join(5)
        return self._process.returncode

    def lines_said(self, since: float, until: float) -> list[str]:
        """Return what it said in a span of time, without the name of its source."""
        told = [text for when, text in self.said if since <= when <= until]
        return [re.sub(r"^(rtsp|http)://\S+: |^camera \d+: ", "", text) for text in told]

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.running:
            self._process.kill()
            self._process.wait()


def wrong_with_end(program: Program, code: int, within: float = 2.0, expected: Sequence[int] = (0,)) -> list[str]:
    """Say what is wrong with a program's end."""
    wrong = [f"it ended with exit code {code}: {program.said[-1][1]}"] if code not in expected else []
    if program.seconds_to_end > within:
        wrong.append(f"it took {program.seconds_to_end:.1f} s to end")
    if program.broken:
        wrong.append(f"{len(program.broken)} lines are no JSON")
    return wrong
