"""Serve the annotated picture by RTSP."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from urllib.parse import quote

from ssd_edge.detections import Detections
from ssd_edge.errors import SinkError
from ssd_edge.outputs.draw import annotate
from ssd_edge.outputs.encoders import best_encoder
from ssd_edge.outputs.endpoint import Endpoint, parse_endpoint
from ssd_edge.outputs.fitting import fitted
from ssd_edge.outputs.rtsp_server import RtspServer, Stream
from ssd_edge.outputs.sharing import Shared
from ssd_edge.outputs.sink import Sink
from ssd_edge.pixels import size_of
from ssd_edge.stream.frames import Frame

_USUAL_FPS = 25.0
_SERVERS: Shared[RtspServer] = Shared()


class RtspOut(Sink):
    """Sink that serves annotated frames, from the first one on; cameras with one port share a server.

    Args:
        target: a port of this machine's loopback, or an address such as ``rtsp://user:password@0.0.0.0:8554/line3``.
            Without a path it is the camera's name; a user and password that it lacks come from SSD_EDGE_RTSP_USER and
            SSD_EDGE_RTSP_PASSWORD.
        labels: class names, as in the model's spec.
        fps: frame rate of the source; None if it is not known.
        camera: the camera's name.
        say: is told where the picture is, and how it is encoded.

    Raises:
        SinkError: GStreamer lacks something, the address is wrong or open to all, or its port cannot be had.
    """

    heavy = True

    def __init__(
        self,
        target: str,
        labels: Sequence[str],
        fps: float | None = None,
        camera: str = "camera",
        say: Callable[[str], None] | None = None,
    ) -> None:
        endpoint = parse_target(target)
        self._labels, self._fps = labels, fps or _USUAL_FPS
        self._path = endpoint.path.rstrip("/") or f"/{quote(camera, safe='')}"
        self._stream: Stream | None = None
        at = Endpoint(endpoint.scheme, endpoint.host, endpoint.port, "", endpoint.user, endpoint.password)
        self._server: RtspServer | None = _SERVERS.take(at, lambda: RtspServer(at))
        try:
            self._encoder = best_encoder()
        except SinkError:
            self.close()
            raise
        if say is not None:
            say(f"{at}{self._path}: {self._encoder.about}")

    @classmethod
    def opened(
        cls,
        target: str,
        labels: Sequence[str],
        fps: float | None,
        *,
        camera: str = "camera",
        say: Callable[[str], None] | None = None,
    ) -> RtspOut:
        """See ``catalogue.open_sink``."""
        return cls(target, labels, fps, camera, say)

    @classmethod
    def check(cls, target: str) -> None:
        """See ``Sink``."""
        parse_target(target)

    def write(self, frame: Frame, detections: Detections) -> None:
        """Give a frame to those who watch; without any, this costs nothing."""
        if self._server is None:
            raise ValueError("this sink is closed")
        if self._stream is None:
            size = _size(size_of(frame.pixels), self._encoder.largest)
            stream = Stream(self._encoder.pipeline(size, self._fps), size, self._fps)
            self._server.add(self._path, stream)
            self._stream = stream
        if self._stream.watched:
            picture = annotate(frame.image, detections, self._labels)
            self._stream.push(fitted(picture, self._stream.size), frame.captured)

    def close(self) -> None:
        """End the stream; after the last camera's, the server."""
        server, self._server = self._server, None
        if server is not None:
            if self._stream is not None:
                server.remove(self._path)
            _SERVERS.give_back(server)


def parse_target(target: str) -> Endpoint:
    """Read where to serve.

    Raises:
        SinkError: it is neither a port nor an address, or others than this machine's users could watch unasked.
    """
    address = f"rtsp://127.0.0.1:{target}" if target.isascii() and target.isdigit() else target
    endpoint = parse_endpoint(address, {"rtsp": 8554}, "SSD_EDGE_RTSP", "rtsp://USER:PASSWORD@HOST:8554/PATH")
    if not _is_loopback(endpoint.host) and not (endpoint.user and endpoint.password):
        raise SinkError(
            f"{endpoint} can be watched by the whole network: give a user and password as "
            "rtsp://USER:PASSWORD@HOST:PORT, or as SSD_EDGE_RTSP_USER and SSD_EDGE_RTSP_PASSWORD"
        )
    return endpoint


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _size(size: tuple[int, int], largest: int) -> tuple[int, int]:
    """Return (width, height) for pictures of (height, width): even, and not too large for the encoder."""
    scale = min(1.0, largest / max(size))
    width, height = (max(16, int(each * scale)) // 2 * 2 for each in (size[1], size[0]))
    return width, height
