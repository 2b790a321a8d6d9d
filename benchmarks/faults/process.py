"""Faults of the program itself and of its machine: signals, and a clock that jumps."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic, sleep

from faults.program import Program, wrong_with_end
from faults.row import Fault, Row, skipped
from faults.streams import rtsp, watched
from faults.truth import frames_in, unreadable
from tests.helpers import COMPILER

_HOURS = 30 * 24 * 3600.0  # seconds by which the clock is set
_IN_HAND = 3  # frames in capture, engine and outputs
_END = 1.0  # seconds within which a program ends that is asked to


def ended(number: int, name: str, stall: float, engine: Path, folder: Path) -> Row:
    """Ask a program to end, while its stream comes or is stalled; its files are whole."""
    lines, video = folder / "lines.jsonl", folder / "video.mp4"
    outputs = "--save-video", str(video), "--save-images", str(folder / "images")
    with rtsp() as server, Program(engine, server.address, *outputs, lines_to=lines) as program:
        _wait_for_lines(program, lines, 60)
        if stall:
            server.stop()
            sleep(stall)
        began = monotonic()
        code = program.end(number)
    row = Row(name, reported=_reported(program, began))
    row.wrong = [*wrong_with_end(program, code, _END), *_whole(lines), *unreadable([video])]
    written, told = frames_in([video]), len(lines.read_text().splitlines())
    if written != told:
        row.wrong.append(f"{told} lines and {written} frames were written")
    row.lost, row.detail = abs(told - written), {"seconds to end": program.seconds_to_end}
    row.note = f"ended in {program.seconds_to_end:.2f} s"
    return row


def killed(engine: Path, folder: Path) -> Row:
    """Kill the program and start it again as a service does: what was recorded stays, and can be read."""
    # As a service has it by default; without it a run begins its files anew, as the user asked.
    options = "--save-video", str(folder / "video.mp4"), "--rotate-every", "1h"
    lines = folder / "lines.jsonl"
    with rtsp() as server:
        with Program(engine, server.address, *options, lines_to=lines) as program:
            _wait_for_lines(program, lines, 150)
            program.end(signal.SIGKILL)
        row = Row("ssd-edge killed (SIGKILL) and started again")
        (written,), (video,) = _pieces(lines), _pieces(folder / "video.mp4")
        row.wrong = [*_whole(written), *unreadable([video])]
        row.lost = len(written.read_text().splitlines()) - frames_in([video])
        before = {path.name: _digest(path) for path in folder.iterdir()}
        began = monotonic()
        with Program(engine, server.address, *options, lines_to=lines) as program:
            program.wait_until(lambda: _another_line(folder, before), 60)
            row.detail["seconds to start"] = monotonic() - began
            sleep(3.0)
            code = program.end()
    row.reported = _reported(program, began)
    row.wrong += wrong_with_end(program, code)
    after = {_digest(path, before.get(path.name)) for path in folder.iterdir() if path.is_file()}
    gone = [name for name, digest in before.items() if digest not in after]
    row.wrong += [f"{' and '.join(sorted(gone))} of before were overwritten"] if gone else []
    row.note = f"frames again {row.detail['seconds to start']:.1f} s after the start; lost: what the recording lacked"
    return row


def stopped(engine: Path, folder: Path) -> Row:
    """Stop the program for 5 s, as a suspended machine does; the network keeps what came."""
    with rtsp() as server:
        name = "ssd-edge itself stopped for 5 s"
        return watched(
            name,
            engine,
            folder,
            server.address,
            lambda program: program.send(signal.SIGSTOP),
            lambda program: program.send(signal.SIGCONT),
            5.0,
            in_hand=_IN_HAND,
        )


def clock_set(seconds: float, name: str, engine: Path, folder: Path) -> Row:
    """Set the clock while the program runs: in its process alone, by functions of libc that are put before its own."""
    library, jump = folder / "clock.so", folder / "jump"
    source = Path(__file__).with_name("clock.c")
    try:
        command = [COMPILER, "-x", "c", str(source), "-O2", "-shared", "-fPIC", "-o", str(library), "-ldl"]
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return skipped(name, f"it needs a C compiler, {COMPILER}")
    jump.write_text("0")

    def set_clock(program: Program) -> None:
        (folder / "next").write_text(str(int(seconds)))
        (folder / "next").rename(jump)

    with rtsp() as server:
        row = watched(
            name,
            engine,
            folder,
            server.address,
            set_clock,
            lambda _: None,
            2.0,
            environment={"LD_PRELOAD": str(library), "FAULTS_CLOCK": str(jump)},
        )
    row.note = "CLOCK_REALTIME by LD_PRELOAD; the monotonic clock never jumps on Linux"
    row.wrong += [f"{row.lost} frames were lost"] if row.lost and row.lost > 5 else []
    return row


def _wait_for_lines(program: Program, lines: Path, number: int) -> None:
    def there() -> bool:
        return sum(path.read_bytes().count(b"\n") for path in _pieces(lines)) >= number

    if not program.wait_until(there, 60):
        raise RuntimeError("ssd-edge run gave no frames: " + " / ".join(text for _, text in program.said))


def _pieces(path: Path) -> list[Path]:
    """List the files of a recording that are there: itself, or its pieces."""
    return [path] if path.exists() else sorted(path.parent.glob(f"{path.stem}-*{path.suffix}"))


def _another_line(folder: Path, before: dict[str, str]) -> bool:
    """Tell whether JSON lines were written that were not there before the start."""
    lines = [path for path in folder.glob("*.jsonl*") if b"\n" in path.read_bytes()]
    return any(_digest(path) != before.get(path.name) for path in lines)


def _whole(lines: Path) -> list[str]:
    broken = 0
    for text in lines.read_text().splitlines(keepends=True):
        try:
            broken += not (json.loads(text) and text.endswith("\n"))
        except ValueError:
            broken += 1
    return [f"{broken} lines of {lines.name} are not whole"] if broken else []


def _digest(path: Path, known: str | None = None) -> str:
    """Return the digest of a file, or of as much of it as was there before, where it was only added to."""
    data = path.read_bytes()
    if known is not None and ":" in known:
        length = int(known.partition(":")[0])
        data = data[:length]
    return f"{len(data)}:{hashlib.sha256(data).hexdigest()}"


def _reported(program: Program, since: float) -> list[str]:
    return [text for text in program.lines_said(since, monotonic()) if text.startswith(("written", "ssd-edge"))]


def _end(number: int, name: str, stall: float = 0.0) -> Callable[[Path, Path], Row]:
    return partial(ended, number, name, stall)


FAULTS: dict[str, Fault] = {
    "sigterm": _end(signal.SIGTERM, "SIGTERM"),
    "sigterm-stalled": _end(signal.SIGTERM, "SIGTERM while the stream is stalled", 2.5),
    "ctrl-c-stalled": _end(signal.SIGINT, "Ctrl-C while the stream is stalled", 2.5),
    "ctrl-c-lost": _end(signal.SIGINT, "Ctrl-C while a stalled stream is opened again", 6.5),
    "sigkill": killed,
    "stopped": stopped,
    "clock-forward": partial(clock_set, _HOURS, "clock set 30 days forward"),
    "clock-back": partial(clock_set, -_HOURS, "clock set 30 days back"),
}
