"""An RTSP server by GStreamer, whose pictures come from appsrc elements."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import cache
from time import monotonic, sleep
from typing import Any

import numpy as np

from ssd_edge.errors import SinkError
from ssd_edge.outputs.endpoint import Endpoint
from ssd_edge.pixels import Image
from ssd_edge.stream.gstreamer import lacking, libraries

INSTALL = "sudo apt install python3-gi gir1.2-gst-rtsp-server-1.0"
_ROLE = "viewer"
_GOODBYE = 2.0  # seconds
_THREADS = 16  # a client that waits for a camera's first picture occupies one


@cache
def _server_libraries() -> tuple[Any, Any, Any]:
    """Import ``GstRtspServer``, ``GstRtsp`` and ``GLib``.

    Raises:
        SinkError: they are not installed.
    """
    if libraries() is None:
        raise SinkError(f"{lacking('appsrc')}; RTSP needs {INSTALL}")
    try:
        import gi

        gi.require_version("GstRtsp", "1.0")
        gi.require_version("GstRtspServer", "1.0")
        from gi.repository import GLib, GstRtsp, GstRtspServer
    except (ImportError, ValueError):
        raise SinkError(f"GStreamer has no RTSP server here: {INSTALL}") from None
    return GstRtspServer, GstRtsp, GLib


class Stream:
    """One stream of a server, with one pipeline for all of its clients, which runs while there are some.

    Args:
        pipeline: the encoder's, from I420 to a payloader ``pay0``.
        size: (width, height) of the pictures.
        fps: their rate, about.
    """

    def __init__(self, pipeline: str, size: tuple[int, int], fps: float) -> None:
        server, _, _ = _server_libraries()
        caps = f"video/x-raw,format=BGR,width={size[0]},height={size[1]},framerate={max(1, round(fps))}/1"
        # Only the newest picture waits for the encoder, so a slow client or encoder holds up nothing.
        source = "appsrc name=frames is-live=true format=time block=false leaky-type=downstream max-buffers=1"
        self.factory = server.RTSPMediaFactory()
        self.factory.set_launch(f"( {source} caps={caps} ! videoconvert ! video/x-raw,format=I420 ! {pipeline} )")
        self.factory.set_shared(True)
        self.factory.connect("media-configure", self._begin)
        self.size = size
        self._source: Any = None
        self._last = -1

    @property
    def watched(self) -> bool:
        """Whether there is a client."""
        return self._source is not None

    def push(self, picture: Image, captured: float) -> None:
        """Give a picture of the stream's size to its clients; it is not waited for.

        Args:
            picture: (height, width, 3) uint8 BGR.
            captured: when it was captured, in seconds of ``time.monotonic``.
        """
        source = self._source
        clock = None if source is None else source.get_clock()
        if clock is None:  # nobody watches, or the pipeline is about to start
            return
        gst: Any = (libraries() or (None,))[0]
        running = clock.get_time() - source.get_base_time() - round((monotonic() - captured) * gst.SECOND)
        self._last = max(running, self._last + gst.MSECOND, 0)
        # GStreamer's rows begin at multiples of four bytes.
        rows = picture.reshape(picture.shape[0], -1)
        padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
        buffer = gst.Buffer.new_wrapped(padded.tobytes())
        buffer.pts = self._last
        source.emit("push-buffer", buffer)

    def end(self) -> None:
        """Tell the clients that it ends."""
        source, self._source = self._source, None
        if source is not None:
            source.emit("end-of-stream")

    # GStreamer's threads call these.

    def refresh(self) -> None:
        """Encode the next picture as a key frame, so that who has just come sees it at once."""
        gst, video = libraries() or (None, None)
        source = self._source
        if source is not None and gst is not None and video is not None:
            event = video.video_event_new_upstream_force_key_unit(gst.CLOCK_TIME_NONE, True, 0)
            source.get_parent().get_by_name("pay0").get_static_pad("sink").push_event(event)

    def _begin(self, factory: Any, media: Any) -> None:
        self._last = -1
        self._source = media.get_element().get_by_name("frames")
        media.connect("unprepared", self._stopped, self._source)

    def _stopped(self, media: Any, source: Any) -> None:
        if self._source is source:
            self._source = None


class RtspServer:
    """A server with a thread of its own.

    Args:
        endpoint: where it listens; clients have to give the user and password, if there are any.

    Raises:
        SinkError: GStreamer has no RTSP server, or the port cannot be had.
    """

    usable = True

    def __init__(self, endpoint: Endpoint) -> None:
        server, rtsp, self._glib = _server_libraries()
        self._server, self._endpoint = server.RTSPServer(), endpoint
        self._rights: Any = None
        self._streams: dict[str, Stream] = {}
        self._server.set_address(endpoint.host)
        self._server.set_service(str(endpoint.port))
        self._server.get_thread_pool().set_max_threads(_THREADS)
        if endpoint.user:
            self._ask_for_password(server, rtsp)
        try:
            self._server.create_socket(None).close()
        except Exception as error:  # GLib.Error
            raise SinkError(
                f"cannot serve {endpoint}: {getattr(error, 'message', error)}; choose another port or address"
            ) from None
        self._context = self._glib.MainContext()
        self._loop = self._glib.MainLoop.new(self._context, False)
        self._attached = self._server.attach(self._context)
        if not self._attached:
            raise SinkError(f"cannot serve {endpoint}: its port is taken; choose another one")
        clean = self._glib.timeout_source_new_seconds(5)  # ends the sessions of clients that are gone without a word
        clean.set_callback(self._clean)
        clean.attach(self._context)
        self._server.connect("client-connected", lambda _, client: client.connect("play-request", self._refresh))
        self._thread = threading.Thread(target=self._loop.run, name="rtsp", daemon=True)
        self._thread.start()

    def add(self, path: str, stream: Stream) -> None:
        """Serve a stream at a path.

        Raises:
            SinkError: there is another one.
        """
        if path in self._streams:
            raise SinkError(f"two cameras cannot both be {self._endpoint}{path}: give each a path of its own")
        if self._rights is not None:
            stream.factory.set_permissions(self._rights)
        self._streams[path] = stream
        self._server.get_mount_points().add_factory(path, stream.factory)

    def remove(self, path: str) -> None:
        """End a stream."""
        self._server.get_mount_points().remove_factory(path)
        self._streams.pop(path).end()

    def close(self) -> None:
        """Hang up, and free the port."""
        source = self._context.find_source_by_id(self._attached)
        if source is not None:
            source.destroy()
        last = self._glib.idle_source_new()  # a loop that has not begun yet would not notice a mere quit
        last.set_callback(lambda *_: self._loop.quit())
        last.attach(self._context)
        self._thread.join(5)
        self._hang_up()

    def _hang_up(self) -> None:
        """End the clients' connections at their sockets, so that each client's own thread closes it.

        To remove a client from here would close its streams under the thread that reads them: GStreamer then reads
        nothing for ever, which takes a core.
        """
        server, _, _ = _server_libraries()
        sockets = []

        def note(_: Any, client: Any) -> Any:
            sockets.append(client.get_connection().get_read_socket())
            return server.RTSPFilterResult.REF

        until = monotonic() + _GOODBYE
        while self._server.client_filter(note) and monotonic() < until:
            while sockets:
                with suppress(Exception):  # GLib.Error: it has gone by itself
                    sockets.pop().shutdown(True, True)
            sleep(0.01)

    def _refresh(self, *_: object) -> None:
        for stream in list(self._streams.values()):
            stream.refresh()

    def _clean(self, *_: object) -> bool:
        self._server.get_session_pool().cleanup()
        return True

    def _ask_for_password(self, server: Any, rtsp: Any) -> None:
        auth, token = server.RTSPAuth(), server.RTSPToken.new()
        token.set_string("media.factory.role", _ROLE)
        auth.set_supported_methods(rtsp.RTSPAuthMethod.DIGEST)  # the password itself does not cross the network
        auth.add_digest(self._endpoint.user, self._endpoint.password, token)
        self._server.set_auth(auth)
        self._rights = server.RTSPPermissions.new()
        self._rights.add_permission_for_role(_ROLE, "media.factory.access", True)
        self._rights.add_permission_for_role(_ROLE, "media.factory.construct", True)
