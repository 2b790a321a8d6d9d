"""A web camera on loopback whose pictures show the time at which they were taken."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic, sleep
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from ssd_edge.pixels import to_bgr
from ssd_edge.stream.frames import Frame

_BITS = 24
_SIDE = 20  # pixels of a bit


def _now() -> int:
    return int(1000 * monotonic()) % (1 << _BITS)


def picture() -> npt.NDArray[np.uint8]:
    """Draw the milliseconds of now as black and white squares."""
    image = np.zeros((48, _SIDE * _BITS, 3), np.uint8)
    now = _now()
    for bit in range(_BITS):
        image[:, bit * _SIDE : (bit + 1) * _SIDE] = 255 * (now >> bit & 1)
    return image


def true_age(frame: Frame) -> float:
    """Return how many seconds ago a picture was drawn."""
    row = to_bgr(frame.pixels)[24, _SIDE // 2 :: _SIDE, 1] > 128
    drawn = sum(1 << bit for bit in range(_BITS) if row[bit])
    return (_now() - drawn) % (1 << _BITS) / 1000


def _jpeg(write: Callable[[bytes], Any], told: bool) -> Callable[[], None]:
    def send() -> None:
        data = cv2.imencode(".jpg", picture())[1].tobytes()
        length = b"Content-Length: %d\r\n" % len(data) if told else b""
        write(b"--frame\r\nContent-Type: image/jpeg\r\n" + length + b"\r\n" + data + b"\r\n")

    return send


def _transport_stream(write: Callable[[bytes], Any], fps: int) -> Callable[[], None]:
    class File:
        def write(self, data: bytes) -> int:
            write(data)
            return len(data)

    container = av.open(File(), "w", format="mpegts", options={"flush_packets": "1"})
    stream = container.add_stream("libx264", rate=fps)
    stream.width, stream.height, stream.pix_fmt = _SIDE * _BITS, 48, "yuv420p"
    stream.options = {"preset": "ultrafast", "tune": "zerolatency", "g": str(fps)}
    stream.codec_context.time_base = Fraction(1, 1000)
    began = monotonic()

    def send() -> None:
        frame = av.VideoFrame.from_ndarray(picture(), format="bgr24")
        frame.pts, frame.time_base = int(1000 * (monotonic() - began)), Fraction(1, 1000)
        for packet in stream.encode(frame):
            container.mux(packet)

    return send


@contextmanager
def web_camera(kind: str, fps: int, going: threading.Event) -> Iterator[str]:
    """Serve ``jpeg``, ``jpeg without lengths`` or ``mpegts`` while ``going`` is set; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            kind_of_content = "video/mp2t" if kind == "mpegts" else "multipart/x-mixed-replace; boundary=frame"
            self.send_header("Content-Type", kind_of_content)
            self.end_headers()
            write = self.wfile.write
            send = _transport_stream(write, fps) if kind == "mpegts" else _jpeg(write, kind == "jpeg")
            try:
                while not server.ended:  # type: ignore[attr-defined]
                    if going.wait(0.1):
                        send()
                        sleep(1 / fps)
            except OSError:
                pass

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.ended = False  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/video"
    finally:
        server.ended = True  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()
        server.server_close()
