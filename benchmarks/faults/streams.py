"""Faults of an RTSP server, of the network before it, and of a web camera."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic, sleep

from faults.program import ROOT, Program, wrong_with_end
from faults.row import Fault, Row
from faults.truth import lost, recovery, shown_frames, unreadable, what_is_wrong
from tests.stream.faulty import Relay, started_server

FPS = 15
SIZE = 240, 120
LARGER = 480, 240


class RtspServer:
    """GStreamer's RTSP server in a process of its own, which can be killed, stopped and started again."""

    def __init__(self, fps: int = FPS, size: tuple[int, int] = SIZE) -> None:
        self._fps, self.port = fps, 0
        self.start(size)
        self.address = f"rtsp://127.0.0.1:{self.port}/live"

    def start(self, size: tuple[int, int] = SIZE) -> None:
        """Start it, at the same port as before."""
        self._process, self.port = started_server(self._fps, size, self.port, "time")

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Stop it: its connections stay, and it sends nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)


class WebCamera:
    """A camera that sends Motion JPEG over HTTP, in a process of its own."""

    def __init__(self) -> None:
        self._port = 0
        self.start()

    def start(self) -> None:
        """Start it, at the same port as before."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.stream.coded", "jpeg", str(FPS), str(self._port)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        self._port = int(self.address.split(":")[2].split("/")[0])

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()


@contextmanager
def rtsp(fps: int = FPS) -> Iterator[RtspServer]:
    """Serve until the block ends."""
    server = RtspServer(fps)
    try:
        yield server
    finally:
        server.go_on()
        server.kill()


@contextmanager
def web_camera() -> Iterator[WebCamera]:
    """Serve until the block ends."""
    camera = WebCamera()
    try:
        yield camera
    finally:
        camera.kill()


def watched(
    fault: str,
    engine: Path,
    folder: Path,
    source: str,
    begin: Callable[[Program], None],
    end: Callable[[Program], None],
    seconds: float,
    *,
    before: str = "",
    environment: dict[str, str] | None = None,
    arguments: tuple[str, ...] = (),
    in_hand: int = 0,
    fps: float = FPS,
) -> Row:
    """Run on a source, make a fault for some seconds, end it, and judge all that was shown.

    Args:
        fault: its name.
        engine: the engine.
        folder: an empty folder.
        source: what ``--camera`` gets.
        begin, end: begin and end the fault.
        seconds: its length.
        before: see ``Program``.
        environment: see ``Program``.
        arguments: see ``Program``.
        in_hand: see ``what_is_wrong``.
        fps: the source's rate.
    """
    video, images = folder / "video.mp4", folder / "images"
    outputs = ("--save-video", str(video), "--save-images", str(images), *arguments)
    with Program(engine, source, *outputs, before=before, environment=environment) as program:
        program.wait_for_start(max(12, round(2 * fps)))
        began = monotonic()
        begin(program)
        sleep(seconds)
        end(program)
        ended = monotonic()
        program.wait_for_frames_after(ended)
        sleep(2.0)
        code = program.end()
    shown = shown_frames(program.lines, images)
    row = Row(fault, reported=program.lines_said(began, ended + 12))
    row.recovery = recovery(shown, ended)
    if row.recovery is None:
        row.wrong.append("no new frame came after the fault")
    row.lost = lost(shown, began, ended + (row.recovery or 0.0), fps)
    row.wrong += wrong_with_end(program, code) + what_is_wrong(shown, began, in_hand)
    row.wrong += unreadable(sorted(folder.glob("video*.mp4")))
    row.detail = {"shown": len(shown), "seconds": seconds, "end": program.seconds_to_end}
    row.judge()
    return without_the_end(row)


def without_the_end(row: Row) -> Row:
    """Leave out what is printed after the end: the table and where the files are."""
    kept = []
    for text in row.reported:
        if text.startswith("milliseconds"):
            break
        kept.append(text)
    row.reported = kept
    return row


def killed(engine: Path, folder: Path) -> Row:
    """Kill the server, and start it after 4 s."""
    with rtsp() as server:
        name = "RTSP server killed, back after 4 s"
        return watched(name, engine, folder, server.address, _kill(server), _start(server), 4.0)


def stalled(engine: Path, folder: Path) -> Row:
    """Stop the server for 15 s; its connections stay open."""
    with rtsp() as server:
        name = "RTSP server stopped for 15 s"
        return watched(name, engine, folder, server.address, lambda _: server.stop(), lambda _: server.go_on(), 15.0)


def another_size(engine: Path, folder: Path) -> Row:
    """Kill the server, and start it with another picture size."""
    with rtsp() as server:
        name = f"RTSP server back with {LARGER[0]}×{LARGER[1]} in place of {SIZE[0]}×{SIZE[1]}"
        return watched(name, engine, folder, server.address, _kill(server), lambda _: server.start(LARGER), 2.0)


def damaged(what: str, name: str, engine: Path, folder: Path) -> Row:
    """Lose or garble a fifth of the RTP packets for 6 s."""
    with rtsp() as server, Relay(server.port) as relay:
        return watched(
            f"{name}, RTP over TCP, 6 s",
            engine,
            folder,
            relay.address,
            lambda _: setattr(relay, what, 0.2),
            lambda _: setattr(relay, what, 0.0),
            6.0,
        )


def held(engine: Path, folder: Path) -> Row:
    """Hold all packets for 3 s, and let them come at once."""
    with rtsp() as server, Relay(server.port) as relay:
        name = "network holds all packets for 3 s, then delivers them"
        return watched(name, engine, folder, relay.address, lambda _: relay.hold(), lambda _: relay.let_go(), 3.0)


def silent(engine: Path, folder: Path) -> Row:
    """Hang up, and accept connections without an answer for 4 s."""

    def begin(_: Program) -> None:
        relay.answering = False
        relay.hang_up()

    def end(_: Program) -> None:
        relay.answering = True

    with rtsp() as server, Relay(server.port) as relay:
        name = "server accepts connections and does not answer, 4 s"
        return watched(name, engine, folder, relay.address, begin, end, 4.0)


def slow(engine: Path, folder: Path) -> Row:
    """Send two frames a second, which is no fault: nothing may be said or lost."""
    with rtsp(fps=2) as server:
        row = watched("RTSP stream of 2 FPS", engine, folder, server.address, _nothing, _nothing, 4.0, fps=2)
    row.note, row.recovery = "slower than the loop; no fault to end", None
    row.wrong += ["it was said to be at fault"] if row.reported else []
    row.wrong += [f"{row.lost} frames were lost"] if row.lost and row.lost > 1 else []
    return row


def none(engine: Path, folder: Path) -> Row:
    """Make no fault: what is wrong here is the machine, which is too busy or too slow to judge the others."""
    with rtsp() as server:
        row = watched("none", engine, folder, server.address, _nothing, _nothing, 4.0)
    row.note, row.recovery = "to compare with", None
    row.wrong += ["something was reported"] if row.reported else []
    row.wrong = [f"this machine is too busy to judge the others: {', '.join(row.wrong)}"] if row.wrong else []
    return row


def web_camera_killed(engine: Path, folder: Path) -> Row:
    """Kill a web camera, and start it after 4 s."""
    with web_camera() as camera:
        name = "HTTP Motion JPEG camera killed, back after 4 s"
        return watched(name, engine, folder, camera.address, lambda _: camera.kill(), lambda _: camera.start(), 4.0)


def _kill(server: RtspServer) -> Callable[[Program], None]:
    return lambda _: server.kill()


def _start(server: RtspServer) -> Callable[[Program], None]:
    return lambda _: server.start()


def _nothing(_: Program) -> None:
    pass


FAULTS: dict[str, Fault] = {
    "none": none,
    "rtsp-killed": killed,
    "rtsp-stalled": stalled,
    "rtsp-size": another_size,
    "rtsp-loss": partial(damaged, "loss", "20 % of the packets lost"),
    "rtsp-garbled": partial(damaged, "garbling", "20 % of the packets with wrong bytes"),
    "rtsp-held": held,
    "rtsp-silent": silent,
    "rtsp-slow": slow,
    "http-killed": web_camera_killed,
}
