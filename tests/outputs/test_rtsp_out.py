"""The annotated picture by RTSP, watched by PyAV on loopback; skipped where GStreamer has no RTSP server."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from time import monotonic, process_time, sleep
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from ssd_edge.errors import SinkError
from ssd_edge.outputs import encoders, rtsp_server
from ssd_edge.outputs.catalogue import open_sink
from ssd_edge.outputs.encoders import ENCODERS, Encoder, best_encoder
from ssd_edge.outputs.endpoint import Endpoint
from ssd_edge.outputs.rtsp_out import RtspOut, parse_target
from ssd_edge.outputs.rtsp_server import RtspServer
from ssd_edge.stream import gstreamer
from ssd_edge.stream.frames import Frame
from tests.outputs.broker import free_port, wait_for
from tests.outputs.seen import LABELS, detections
from tests.stream.test_gstreamer import found


def missing() -> str:
    """Say what keeps the server from starting here; empty if nothing does."""
    found()
    try:
        rtsp_server._server_libraries()
        best_encoder()
    except SinkError as error:
        return str(error)
    return ""


needs_server = pytest.mark.skipif(bool(missing()), reason=missing())
Picture = npt.NDArray[np.uint8]


class Camera:
    """Gives an output 50 frames a second, whose grey grows by 2 with each and whose box moves."""

    def __init__(self, sink: RtspOut, size: tuple[int, int] = (120, 160)) -> None:
        self.size, self.given, self.slowest = size, 0, 0.0
        self._sink, self._ended = sink, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        wait_for(lambda: self.given > 0)

    def _run(self) -> None:
        while not self._ended.wait(0.02):
            grey = 40 + self.given * 2 % 100
            began = monotonic()
            frame = Frame(np.full((*self.size, 3), grey, np.uint8), self.given, began)
            self._sink.write(frame, detections(1, left=self.given % 100))
            self.slowest = max(self.slowest, monotonic() - began)
            self.given += 1

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()


@contextmanager
def watching(address: str, transport: str = "tcp") -> Iterator[Iterator[Picture]]:
    with av.open(address, options={"rtsp_transport": transport}, timeout=30) as container:
        yield (frame.to_ndarray(format="bgr24") for frame in container.decode(video=0))


def watch(address: str, number: int = 20, transport: str = "tcp") -> list[Picture]:
    with watching(address, transport) as pictures:
        return [next(pictures) for _ in range(number)]


def moves(pictures: list[Picture]) -> bool:
    """Tell whether the grey of the lower right corner, where no box comes, changes."""
    return len({int(picture[-4:, -4:].mean()) for picture in pictures}) > 5


def whole(picture: Picture) -> bool:
    """Tell whether the whole frame has one grey, apart from the box and its text."""
    return bool(np.ptp(picture[::, -4:].astype(int)) < 12 and np.ptp(picture[40:].astype(int)) < 12)


@pytest.fixture
def serve() -> Iterator[Callable[..., tuple[str, RtspOut]]]:
    """Open outputs on free ports."""
    with ExitStack() as stack:

        def make(path: str = "/live", account: str = "", port: int = 0, **settings: Any) -> tuple[str, RtspOut]:
            place = f"127.0.0.1:{port or free_port()}{path}"
            sink = open_sink("rtsp", f"rtsp://{account}{place}", LABELS, 50, **settings)
            assert isinstance(sink, RtspOut)
            return place, stack.enter_context(sink)

        yield make


@needs_server
@pytest.mark.slow
def test_the_picture_moves_and_boxes_are_drawn(serve: Callable[..., tuple[str, RtspOut]]) -> None:
    said: list[str] = []
    place, sink = serve(say=said.append)
    assert said == [f"rtsp://{place}: {best_encoder().about}"]
    with Camera(sink):
        pictures = watch(f"rtsp://{place}")
    assert pictures[0].shape == (120, 160, 3)
    assert moves(pictures)
    assert all(map(whole, pictures))
    coloured = [np.ptp(picture.astype(int), axis=2).max() for picture in pictures]
    assert min(coloured) > 60, "the frames themselves are grey"


@needs_server
@pytest.mark.slow
def test_clients_come_and_go(serve: Callable[..., tuple[str, RtspOut]]) -> None:
    place, sink = serve()
    with Camera(sink) as camera:
        with watching(f"rtsp://{place}") as first, watching(f"rtsp://{place}") as second:
            assert moves([next(first) for _ in range(20)])
            shown = [next(second) for _ in range(20)]
            assert moves(shown)
            assert all(map(whole, shown[10:])), "who comes later waits for no regular key frame"
        wait_for(lambda: sink._stream is not None and not sink._stream.watched)
        before = camera.given
        wait_for(lambda: camera.given > before + 5)
        assert moves(watch(f"rtsp://{place}"))


@needs_server
@pytest.mark.slow
def test_a_client_that_is_killed(serve: Callable[..., tuple[str, RtspOut]]) -> None:
    place, sink = serve()
    program = (
        "import av, sys\n"
        "with av.open(sys.argv[1], options={'rtsp_transport': 'tcp'}) as c:\n"
        "    next(c.decode(video=0)); print('one', flush=True); sys.stdin.read()"
    )
    with Camera(sink) as camera, watching(f"rtsp://{place}") as other:
        command = [sys.executable, "-c", program, f"rtsp://{place}"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
            assert client.stdout is not None
            assert client.stdout.readline() == "one\n"
            client.kill()
        before = camera.given
        assert moves([next(other) for _ in range(40)])
        wait_for(lambda: camera.given > before)
        assert moves(watch(f"rtsp://{place}"))


@needs_server
@pytest.mark.slow
def test_a_client_that_reads_nothing(serve: Callable[..., tuple[str, RtspOut]]) -> None:
    """Its connection fills up; the loop and other clients do not notice."""
    place, sink = serve()
    with Camera(sink) as camera, watching(f"rtsp://{place}"):
        before = camera.given
        wait_for(lambda: camera.given > before + 100)
        assert moves(watch(f"rtsp://{place}", 60))
        assert camera.slowest < 5


@needs_server
@pytest.mark.slow
def test_by_udp(serve: Callable[..., tuple[str, RtspOut]]) -> None:
    place, sink = serve()
    with Camera(sink):
        assert moves(watch(f"rtsp://{place}", transport="udp"))


@needs_server
@pytest.mark.slow
def test_cameras_share_a_port(serve: Callable[..., tuple[str, RtspOut]]) -> None:
    place, first = serve("", camera="Halle 2/a")
    port = int(place.partition(":")[2])
    _, second = serve("", port=port, camera="b")
    with Camera(first), Camera(second, (64, 96)):
        assert watch(f"rtsp://{place}/Halle%202%2Fa", 1)[0].shape == (120, 160, 3)
        assert watch(f"rtsp://{place}/b", 1)[0].shape == (64, 96, 3)
        _, same = serve("/b", port=port)
        with pytest.raises(SinkError, match=r"two cameras cannot both be rtsp://127.0.0.1:"):
            same.write(Frame(np.zeros((64, 96, 3), np.uint8), 0, monotonic()), detections())
        same.close()
    first.close()
    with Camera(second, (64, 96)):
        assert moves(watch(f"rtsp://{place}/b"))
        with pytest.raises(av.error.FFmpegError):
            watch(f"rtsp://{place}/Halle%202%2Fa", 1)


@needs_server
@pytest.mark.slow
def test_after_the_last_output_the_port_is_free(serve: Callable[..., tuple[str, RtspOut]]) -> None:
    place, sink = serve()
    with Camera(sink), watching(f"rtsp://{place}") as pictures:
        next(pictures)
    sink.close()
    sink.close()
    port = int(place.partition(":")[2].partition("/")[0])
    _, again = serve(port=port)
    with Camera(again):
        assert moves(watch(f"rtsp://{place}"))
    assert [thread.name for thread in threading.enumerate()].count("rtsp") == 1


def ask_often(port: int) -> None:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as client:
        for number in range(50):
            client.sendall(b"OPTIONS rtsp://127.0.0.1/ RTSP/1.0\r\nCSeq: %d\r\n\r\n" % number)
            client.recv(1000)


@needs_server
@pytest.mark.slow
def test_closing_under_busy_clients_leaves_no_thread_that_reads_for_ever() -> None:
    """Such a thread took a core, and wrote a line to the screen for each attempt."""
    for _ in range(40):
        port = free_port()
        server = RtspServer(Endpoint("rtsp", "127.0.0.1", port))
        clients = [threading.Thread(target=ask_often, args=(port,)) for _ in range(3)]
        for client in clients:
            client.start()
        sleep(0.005)
        server.close()
        for client in clients:
            client.join()
    before = process_time()
    sleep(0.5)
    assert process_time() - before < 0.25


@needs_server
@pytest.mark.slow
def test_a_password(serve: Callable[..., tuple[str, RtspOut]], monkeypatch: pytest.MonkeyPatch) -> None:
    place, sink = serve(account="me:p%40ss@")
    with Camera(sink):
        assert watch(f"rtsp://me:p%40ss@{place}", 1)
        for account in ("", "me:wrong@"):
            with pytest.raises(av.error.HTTPUnauthorizedError):
                watch(f"rtsp://{account}{place}", 1)
    monkeypatch.setenv("SSD_EDGE_RTSP_USER", "you")
    monkeypatch.setenv("SSD_EDGE_RTSP_PASSWORD", "secret")
    place, sink = serve()
    with Camera(sink):
        assert watch(f"rtsp://you:secret@{place}", 1)


@needs_server
@pytest.mark.slow
@pytest.mark.parametrize("size", [(121, 161), (33, 47), (1, 1)])
def test_odd_sizes(serve: Callable[..., tuple[str, RtspOut]], size: tuple[int, int]) -> None:
    place, sink = serve()
    with Camera(sink, size):
        (picture,) = watch(f"rtsp://{place}", 1)
    assert picture.shape[:2] == tuple(max(16, each // 2 * 2) for each in size)


@needs_server
@pytest.mark.slow
def test_a_camera_that_changes_its_size(serve: Callable[..., tuple[str, RtspOut]]) -> None:
    place, sink = serve()
    with Camera(sink) as camera, watching(f"rtsp://{place}") as pictures:
        next(pictures)
        camera.size = (240, 200)
        shown = [next(pictures) for _ in range(100)]
    assert {picture.shape for picture in shown} == {(120, 160, 3)}
    assert shown[-1][:, :20].max() < 20 < shown[-1][60, 80].max(), "it stands in the middle"


@needs_server
@pytest.mark.slow
def test_each_encoder_that_is_here(serve: Callable[..., tuple[str, RtspOut]], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for encoder in ENCODERS:
        monkeypatch.setattr(encoders, "ENCODERS", (encoder,))
        try:
            best_encoder()
        except SinkError:
            continue
        said: list[str] = []
        place, sink = serve(say=said.append)
        with Camera(sink, (128, 160)):
            pictures = watch(f"rtsp://{place}")
        assert said[0].endswith(encoder.about)
        assert moves(pictures), encoder
        seen.append(encoder.about)
    assert seen


@needs_server
@pytest.mark.slow
def test_an_encoder_that_is_there_and_does_not_work_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a Jetson whose chip has none."""
    broken = Encoder("broken", ("identity",), "identity error-after=1 ! rtph264pay name=pay0")
    odd = Encoder("odd", ("identity",), "identity no-such-property=1")
    absent = Encoder("absent", ("nosuchenc",), "nosuchenc")
    monkeypatch.setattr(encoders, "ENCODERS", (broken, odd, absent, *ENCODERS))
    assert best_encoder() in ENCODERS
    monkeypatch.setattr(encoders, "ENCODERS", (broken, odd, absent))
    with pytest.raises(SinkError, match=r"has no encoder for RTSP: sudo apt install gstreamer1.0-plugins-ugly"):
        RtspOut(str(free_port()), LABELS)


@needs_server
@pytest.mark.slow
def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(SinkError, match=rf"cannot serve rtsp://127.0.0.1:{port}: .*in use; choose another port"):
            RtspOut(str(port), LABELS)


@needs_server
@pytest.mark.slow
def test_an_address_of_another_machine() -> None:
    with pytest.raises(SinkError, match=r"cannot serve rtsp://192.0.2.1:8554: .*choose another port or address"):
        RtspOut("rtsp://me:secret@192.0.2.1", LABELS)


def test_others_need_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSD_EDGE_RTSP_USER", raising=False)
    for address in ("rtsp://0.0.0.0:8554", "rtsp://me@0.0.0.0", "rtsp://[::]:8554", "rtsp://camera.local:8554/x"):
        with pytest.raises(SinkError, match=r"can be watched by the whole network: give a user and password"):
            parse_target(address)
    assert parse_target("rtsp://me:secret@0.0.0.0").port == 8554
    assert str(parse_target("9000")) == "rtsp://127.0.0.1:9000"
    for address in ("rtsp://localhost", "rtsp://[::1]:1", "rtsp://127.9.9.9"):
        parse_target(address)


@pytest.mark.parametrize("target", ["", "0", "99999", "http://h", "rtsp://", "8554/x", "²"])
def test_a_wrong_target(target: str) -> None:
    with pytest.raises(SinkError, match="is not an address of the form rtsp://"):
        parse_target(target)


def test_without_gstreamer(monkeypatch: pytest.MonkeyPatch) -> None:
    rtsp_server._server_libraries.cache_clear()
    monkeypatch.setattr(rtsp_server, "libraries", lambda: None)
    monkeypatch.setattr(gstreamer, "libraries", lambda: None)
    with pytest.raises(SinkError, match=r"no GStreamer: .*sudo apt install python3-gi gir1.2-gst-rtsp-server-1.0"):
        RtspOut("8554", LABELS)


@needs_server
@pytest.mark.slow
def test_without_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    import gi

    def require_version(name: str, version: str) -> None:
        raise ValueError(f"Namespace {name} not available")

    rtsp_server._server_libraries.cache_clear()
    monkeypatch.setattr(gi, "require_version", require_version)
    with pytest.raises(SinkError, match=r"no RTSP server here: sudo apt install .*gir1.2-gst-rtsp-server-1.0"):
        RtspOut("8554", LABELS)
    monkeypatch.undo()
    rtsp_server._server_libraries.cache_clear()
