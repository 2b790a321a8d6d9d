"""Faults of outputs: a full disk, and a pipe that nobody reads."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from time import monotonic, sleep

from faults.program import PIPE, Program, wrong_with_end
from faults.row import Fault, Row, skipped
from faults.streams import FPS, rtsp, without_the_end
from faults.truth import frames_in, unreadable

_DISK = 6 << 20  # bytes of the small disk
_FULL = 5.0  # seconds for which it is full
_BLOCKED = 10.0  # seconds for which the pipe is; it and the output's queue hold the lines of the first six
_HEAD = 4096  # bytes that a recording has before its first second
_GAP = 0.5  # seconds without a line from which on the loop counts as stopped


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a disk of 6 MiB in memory.

    Raises:
        PermissionError: this user may not mount.
    """
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "none", disk], capture_output=True)
    if mounted.returncode:
        raise PermissionError("only root may mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=False)


def full_disk(engine: Path, folder: Path) -> Row:
    """Fill the disk of the recordings for 5 s; detections go on meanwhile."""
    name = f"disk of the recordings full for {_FULL:.0f} s"
    try:
        with small_disk(folder) as disk, rtsp() as server:
            return _full_disk(name, engine, folder, disk, server.address)
    except (PermissionError, FileNotFoundError) as error:
        return skipped(name, str(error))


def _full_disk(name: str, engine: Path, folder: Path, disk: Path, address: str) -> Row:
    filler = disk / "filler"
    with Program(engine, address, "--save-video", str(disk / "video.mp4")) as program:
        program.wait_for_start(2 * FPS)
        # A busy machine writes the first second later; of a piece that holds none, nothing can be played.
        if not program.wait_until(lambda: _bytes_of(disk) > _HEAD, 15.0):
            raise RuntimeError("the recording did not begin")
        began = monotonic()
        _fill(filler)
        until = began + _FULL
        while monotonic() < until:
            sleep(0.1)
            _fill(filler)
        before = _bytes_of(disk)
        filler.unlink()
        ended = monotonic()
        program.wait_until(lambda: _bytes_of(disk) > before, 15.0)
        row = Row(name, recovery=monotonic() - ended)
        if _bytes_of(disk) <= before:
            row.recovery = None
            row.wrong.append("it was not recorded again")
        sleep(3.0)
        code = program.end()
    row.reported = program.lines_said(began, ended + 10)
    videos = [path for path in sorted(disk.glob("*.mp4")) if path.stat().st_size]
    row.wrong += [*wrong_with_end(program, code), *unreadable(videos), *standing_still(program, began)]
    if not row.wrong:
        row.lost = len(program.lines) - frames_in(videos)
    row.note = f"tmpfs of {_DISK >> 20} MiB; lost: shown and not recorded"
    row.judge()
    return without_the_end(row)


def blocked_pipe(engine: Path, folder: Path) -> Row:
    """Read no JSON lines for 10 s; the video goes on meanwhile."""
    video = folder / "video.mp4"
    with rtsp() as server, Program(engine, server.address, "--save-video", str(video)) as program:
        program.wait_for_start(2 * FPS)
        program.reading.clear()
        began = monotonic()
        sleep(_BLOCKED)
        program.reading.set()
        ended = monotonic()
        program.wait_for_frames_after(ended + 0.5)
        sleep(1.0)
        code = program.end()
    row = Row(f"reader of --save-json - stops reading for {_BLOCKED:.0f} s")
    row.reported = program.lines_said(began, ended + 10)
    indices = [line["index"] for _, line in program.lines]
    recorded = frames_in([video])
    row.lost = max(0, indices[-1] + 1 - len(indices))
    row.wrong += [*wrong_with_end(program, code), *unreadable([video])]
    row.wrong += [] if row.lost else ["the pipe was not full: nothing was judged"]
    # Beside the pipe nothing may have waited.
    if recorded < 0.9 * (indices[-1] + 1):
        row.wrong.append(f"the video has {recorded} of {indices[-1] + 1} frames: it waited for the pipe")
    fresh = [
        when for when, line in program.lines if when > ended and line["index"] >= indices[0] + (ended - began) * FPS
    ]
    row.recovery = min(fresh) - ended if fresh else None
    row.note = f"a pipe of {PIPE} bytes; lost: lines that were not printed"
    row.judge()
    return without_the_end(row)


def standing_still(program: Program, since: float) -> list[str]:
    """Say how long the loop gave no line, where that is longer than a moment."""
    times = [when for when, _ in program.lines if when >= since]
    longest = max((after - before for before, after in pairwise(times)), default=99.0)
    return [f"the loop stood still for {longest:.1f} s"] if longest > _GAP else []


def _fill(filler: Path) -> None:
    """Write until nothing fits."""
    for size in (1 << 16, 1 << 12):
        try:
            with filler.open("ab", buffering=0) as file:
                while file.write(bytes(size)) == size:
                    pass
        except OSError:
            continue


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != "filler")


FAULTS: dict[str, Fault] = {"disk-full": full_disk, "pipe-blocked": blocked_pipe}
