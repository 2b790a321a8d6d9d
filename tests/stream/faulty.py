"""A real RTSP server on loopback, and a relay before it that has the faults of a network."""

from __future__ import annotations

import random
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache

SYSTEM_PYTHON = "/usr/bin/python3"
"""The Python that PyGObject is packaged for."""

_SERVER = """
import sys
import time
import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer

Gst.init(None)
fps, width, height, port, pattern, codec = sys.argv[1:]
for name in ("x264enc", "rtph264pay", "videotestsrc"):
    assert Gst.ElementFactory.find(name), name
server, factory = GstRtspServer.RTSPServer(), GstRtspServer.RTSPMediaFactory()
server.set_address("127.0.0.1")
server.set_service(port)
form = f"video/x-raw,format=I420,width={width},height={height},framerate={fps}/1"
drawn = "appsrc name=clock is-live=true do-timestamp=true format=time"
kilobits = 2000 if pattern == "time" else 800
tested = f"videotestsrc is-live=true pattern={pattern}"


def draw(clock):
    # Bars as in tests/stream/coded.py, which reads them.
    now, side = int(1000 * time.monotonic()), int(width) // 24
    row = b"".join((b"\\xeb" if now >> bit & 1 else b"\\x10") * side for bit in range(24))
    grey = b"\\x80" * (int(width) * int(height) // 2)
    picture = Gst.Buffer.new_wrapped(row * int(height) + grey)
    return clock.emit("push-buffer", picture) == Gst.FlowReturn.OK


def configure(factory, media):
    clock = media.get_element().get_by_name("clock")
    if clock is not None:
        clock.set_property("caps", Gst.Caps.from_string(form))
        GLib.timeout_add(1000 // int(fps), draw, clock)


factory.connect("media-configure", configure)
factory.set_launch(
    f"( {drawn if pattern == 'time' else tested} ! {form} ! "
    f"x{codec}enc tune=zerolatency key-int-max={max(2, int(fps) // 2)} speed-preset=ultrafast bitrate={kilobits} "
    f"{'threads=1' if codec == '264' else ''} ! rtph{codec}pay name=pay0 pt=96 config-interval=1 mtu=400 )"
)
factory.set_shared(True)
server.get_mount_points().add_factory("/live", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
sys.stdin.close()
GLib.MainLoop().run()
"""


@cache
def missing() -> str:
    """Say what keeps the server from starting here; empty if nothing does."""
    code = _SERVER.split("server, factory")[0].replace("sys.argv[1:]", "'12345h'")
    try:
        done = subprocess.run([SYSTEM_PYTHON, "-c", code], capture_output=True, text=True, check=False, timeout=30)
    except OSError as error:
        return str(error)
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


@contextmanager
def rtsp_server(
    fps: int = 25, size: tuple[int, int] = (320, 240), port: int = 0, pattern: str = "ball", codec: str = "264"
) -> Iterator[int]:
    """Serve H.264 or H.265 with a key frame each half second at ``/live``, until the block ends; yield the port."""
    server, port = started_server(fps, size, port, pattern, codec)
    with server:
        try:
            yield port
        finally:
            server.kill()


def started_server(
    fps: int = 25, size: tuple[int, int] = (320, 240), port: int = 0, pattern: str = "ball", codec: str = "264"
) -> tuple[subprocess.Popen[str], int]:
    """Start the server; return it and its port.

    Args:
        fps: frames a second.
        size: width and height; for ``time`` a multiple of 24, and even.
        port: 0 for one that is free.
        pattern: one of ``videotestsrc``, or ``time``: bars that show the time, see ``coded.drawn_at``.
        codec: ``264`` or ``265``.
    """
    command = [SYSTEM_PYTHON, "-c", _SERVER, str(fps), *map(str, size), str(port), pattern, codec]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    return server, int(server.stdout.readline())


class Relay:
    """Relay of RTSP over TCP, which can lose RTP packets, hold all of them, or hang up.

    Attributes:
        loss: share of the RTP packets from the server that are lost.
        garbling: share of them in which bytes are changed.
        refusing: whether clients that come are sent away.
        answering: whether clients that come get answers; otherwise they are accepted, and nothing comes.
        connections: number of clients that came.
    """

    def __init__(self, port: int, seed: int = 0, listen: int = 0) -> None:
        self._upstream, self._chance = port, random.Random(seed)
        self.loss, self.garbling, self.connections = 0.0, 0.0, 0
        self.refusing, self.answering = False, True
        self._go = threading.Event()
        self._go.set()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", listen))
        self.address = f"rtsp://127.0.0.1:{self._listener.getsockname()[1]}/live"
        self._start(self._accept)

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Do something after some seconds."""
        timer = threading.Timer(seconds, what)
        self._threads.append(timer)
        timer.start()

    def hold(self) -> None:
        """Pass nothing on from now; it is kept, and comes later, as from a full network."""
        self._go.clear()

    def let_go(self) -> None:
        """Pass on all that was held, and what comes."""
        self._go.set()

    def hang_up(self) -> None:
        """End all connections."""
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._sockets.clear()

    def close(self) -> None:
        """End the relay."""
        self.let_go()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _start(self, what: object, *arguments: object) -> None:
        self._threads.append(threading.Thread(target=what, args=arguments, daemon=True))  # type: ignore[arg-type]
        self._threads[-1].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self.refusing:
                client.close()
                continue
            if not self.answering:
                self._sockets.append(client)
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._upstream), 5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            self._sockets += [client, server]
            self._start(self._up, client, server)
            self._start(self._down, server, client)

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
        self._end(client, server)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        """Pass on the server's answers, and RTP packets: a dollar sign, a channel, two bytes of length."""
        stream = server.makefile("rb")
        with suppress(OSError, ValueError):
            while first := stream.read(1):
                if first == b"$":
                    head = stream.read(3)
                    data = first + head + stream.read(int.from_bytes(head[1:], "big"))
                    if head[0] == 0 and self._chance.random() < self.loss:
                        continue
                    if head[0] == 0 and self._chance.random() < self.garbling:
                        data = self._garbled(data)
                else:
                    data = first + stream.readline()
                self._go.wait()
                client.sendall(data)
        self._end(client, server)

    def _garbled(self, data: bytes) -> bytes:
        """Change a twentieth of the bytes behind the heads of the interleaving and of RTP."""
        changed = bytearray(data)
        for place in range(4 + 12, len(changed)):
            if self._chance.random() < 0.05:
                changed[place] ^= self._chance.randrange(1, 256)
        return bytes(changed)

    def _end(self, *sockets: socket.socket) -> None:
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
