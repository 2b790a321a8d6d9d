"""A web camera on loopback whose pictures show the time at which they were taken.

``python -m tests.stream.coded jpeg 25 PORT`` serves it until it is killed.
"""

from __future__ import annotations

import sys
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

BITS = 24
"""Bars of a picture, the lowest bit first; each is as wide as the others."""

_SIDE = 20  # pixels of a bit


def _now() -> int:
    return int(1000 * monotonic()) % (1 << BITS)


def picture() -> npt.NDArray[np.uint8]:
    """Draw the milliseconds of now as black and white bars."""
    image = np.zeros((48, _SIDE * BITS, 3), np.uint8)
    now = _now()
    for bit in range(BITS):
        image[:, bit * _SIDE : (bit + 1) * _SIDE] = 255 * (now >> bit & 1)
    return image


def drawn_at(image: npt.NDArray[np.uint8], now: float) -> float | None:
    """Read the time, by the clock of ``monotonic``, from a picture of any size; None if it is garbled.

    Args:
        image: (height, width, 3), any order of colours.
        now: a time that is at most four hours later.
    """
    height, width = image.shape[:2]
    columns = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    rows = [int(share * height) for share in (0.1, 0.3, 0.5, 0.7, 0.9)]
    bars = image[rows][:, columns, 1] > 128
    if (bars != bars[0]).any():
        return None
    shown = sum(1 << bit for bit in range(BITS) if bars[0, bit])
    return now - (int(1000 * now) - shown) % (1 << BITS) / 1000


def true_age(frame: Frame) -> float:
    """Return how many seconds ago a picture was drawn."""
    now = monotonic()
    drawn = drawn_at(to_bgr(frame.pixels), now)
    assert drawn is not None
    return now - drawn


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
    stream.width, stream.height, stream.pix_fmt = _SIDE * BITS, 48, "yuv420p"
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
def web_camera(kind: str, fps: int, going: threading.Event, port: int = 0) -> Iterator[str]:
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

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
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


def main() -> None:
    """Serve until the process is killed; print the address first."""
    kind, fps, port = sys.argv[1:]
    going = threading.Event()
    going.set()
    with web_camera(kind, int(fps), going, int(port)) as address:
        print(address, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
