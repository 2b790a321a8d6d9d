"""Faults of a network and of a server, with a real RTSP server on loopback."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from statistics import median
from time import monotonic

import av
import numpy as np
import numpy.typing as npt
import pytest

from ssd_edge.pixels import to_bgr
from ssd_edge.stream import gstreamer
from ssd_edge.stream.frames import Frame, Source
from ssd_edge.stream.sources import open_source
from tests.stream.coded import true_age, web_camera
from tests.stream.faulty import Relay, missing, rtsp_server
from tests.stream.test_gstreamer import found

pytestmark = pytest.mark.slow
Scenario = Callable[[int], None]
SCENARIOS: dict[str, Scenario] = {}
"""What each test does with the port of a server; they spend their time in waiting, so they run side by side."""


def scenario(*cases: object) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add a function of a server's port and, if there are cases, of each of them."""

    def add(function: Callable[..., None]) -> Callable[..., None]:
        for case in cases or ((),):
            arguments = case if isinstance(case, tuple) else (case,)
            name = " ".join([function.__name__, *map(str, arguments)])
            SCENARIOS[name] = lambda port, arguments=arguments: function(port, *arguments)
        return function

    return add


class Running:
    """Those scenarios that were selected, under way four at a time."""

    def __init__(self, names: list[str], port: int, pool: ThreadPoolExecutor) -> None:
        self._port = port
        self._results = {name: pool.submit(SCENARIOS[name], port) for name in names}

    def result(self, name: str) -> None:
        """Wait for a scenario; one that fails is tried again by itself, since a busy machine draws and sends late."""
        try:
            self._results[name].result()
        except AssertionError:
            wait(self._results.values())
            SCENARIOS[name](self._port)


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    if missing():
        pytest.skip(f"no RTSP server here: gir1.2-gst-rtsp-server-1.0: {missing()}")
    found()  # imports GStreamer, once
    items = [item for item in request.session.items if item.path == request.path]
    names = [item.callspec.params["name"] for item in items if isinstance(item, pytest.Function)]
    with rtsp_server() as port, ThreadPoolExecutor(4) as pool:
        yield Running(names, port, pool)


def needs_gstreamer(way: str) -> None:
    if way == "gstreamer" and not found():
        pytest.skip("no GStreamer for this Python")


def read(source: Source, seconds: float) -> tuple[list[Frame], list[float]]:
    """Read for some seconds; return the frames, and how old each was when it came."""
    frames, ages, until = [], [], monotonic() + seconds
    while monotonic() < until:
        frame = source.read()
        assert frame is not None
        frames.append(frame)
        ages.append(monotonic() - frame.captured)
    return frames, ages


def listened(source: Source) -> list[str]:
    """Collect what a source says from now on."""
    lines: list[str] = []
    source.listen(lines.append)
    return lines


@scenario("pyav", "gstreamer")
def a_network_that_holds_packets_back(server: int, way: str) -> None:
    """What comes late is as old as it is, or is left out; nothing of it is stamped with the time at which it came."""
    needs_gstreamer(way)
    with Relay(server) as relay, open_source(relay.address, way=way) as source:
        lines = listened(source)
        read(source, 1.0)
        relay.hold()
        relay.later(2.0, relay.let_go)
        frames, ages = read(source, 3.2)
        # GStreamer keeps the newest only of those that come in one go.
        assert source.too_old >= (10 if way == "pyav" else 1)
        assert max(ages) <= 1.05
        # At 25 FPS: those that came within milliseconds of each other are 40 ms apart all the same.
        late = [frame.captured for frame, age in zip(frames, ages, strict=True) if age > 0.2]
        if way == "pyav":
            assert len(late) >= 5
            assert median(np.diff(late)) == pytest.approx(0.04, abs=0.01)
        else:  # on a busy machine, very few of them
            assert late
            assert all(np.diff(late) >= 0.03)
        assert any("stalled" in line for line in lines)
        assert any("frames come again" in line for line in lines)
        assert source.reconnects == 0


def bright(frame: Frame) -> tuple[int, int]:
    """Measure the ball of the test picture: its bright pixels, and the larger side of the box around them."""
    image: npt.NDArray[np.uint8] = to_bgr(frame.pixels)
    rows, columns = np.nonzero(image[..., 1] > 128)
    return len(rows), int(max(np.ptp(rows), np.ptp(columns))) if len(rows) else 0


@scenario("pyav", "gstreamer")
def lost_rtp_packets_leave_no_garbled_picture(server: int, way: str) -> None:
    nothing_garbled_passes(server, way)


@scenario()
def h265_is_read_by_gstreamer_which_notices_losses(server: int) -> None:
    """FFmpeg tells neither of lost RTP packets nor of a hole in a picture of H.265."""
    if not gstreamer.has_elements("x265enc", "h265parse", "avdec_h265"):
        pytest.skip("no H.265 here")
    with rtsp_server(codec="265") as port:
        nothing_garbled_passes(port, "auto")
        with open_source(f"rtsp://127.0.0.1:{port}/live", way="pyav") as source:
            assert source.way == "PyAV, which does not notice all losses of hevc"


def nothing_garbled_passes(server: int, way: str) -> None:
    needs_gstreamer(way)
    with Relay(server, seed=1) as relay, open_source(relay.address, way=way) as source:
        lines = listened(source)
        usual = [bright(frame) for frame in read(source, 1.2)[0]]
        relay.loss = 0.05
        frames = read(source, 3.0)[0]
        most, least = max(usual)[0], min(usual)[0]
        for frame in frames:
            count, side = bright(frame)
            assert 0.97 * least <= count <= 1.03 * most
            assert side <= max(one[1] for one in usual) + 1
        assert source.skipped > 10
        assert any("left out" in line for line in lines)
        assert len(frames) > 5


@scenario()
def a_server_that_dies_and_comes_back_with_another_size(server: int) -> None:
    """Frames come again within 2 s of the server, in their new size; every step is said, and the report has it."""
    with rtsp_server(size=(320, 240)) as port, Relay(port) as relay:
        source = open_source(relay.address)
        lines = listened(source)
        assert read(source, 1.0)[0][0].image.shape == (240, 320, 3)
    relay_port = int(relay.address.split(":")[2].split("/")[0])
    with source, rtsp_server(size=(640, 480)) as port, Relay(port, listen=relay_port):
        began = monotonic()
        frame = source.read()
        while frame is not None and frame.image.shape != (480, 640, 3):  # what was still on its way
            frame = source.read()
        assert monotonic() - began < 2 + 1  # a second in which the server starts to encode
        assert source.reconnects >= 1
        lines = [line for line in lines if "damaged" not in line]  # a frame may be cut when the server dies
        assert lines[0].startswith(f"{source.name}: ")
        assert "waiting" in lines[0]
        assert "connecting again" in lines[1]
        assert "frames come again after" in lines[-1]
        assert source.supervision is not None
        health = source.supervision.health()
        assert health.outage_count >= 1
        assert health.frames_missed == pytest.approx(25 * health.outage_seconds, rel=0.2)


@scenario()
def a_server_that_hangs_up_again_and_again_is_not_overrun(server: int) -> None:
    with Relay(server) as relay, open_source(relay.address) as source:
        relay.refusing = True
        relay.hang_up()
        relay.later(2.0, lambda: setattr(relay, "refusing", False))
        before = relay.connections
        read(source, 2.3)
        assert relay.connections - before <= 6
        assert source.supervision is not None
        assert source.supervision.health().outage_seconds < 2 + 2


@scenario()
def a_stop_does_not_wait_for_a_network_that_is_silent(server: int) -> None:
    """It took up to 5 s, until FFmpeg gave up; both while frames are waited for and while it is being opened again."""
    with Relay(server) as relay:
        for silent in (relay.hold, relay.hang_up):
            source = open_source(relay.address, way="pyav")
            read(source, 0.2)
            relay.answering = silent != relay.hang_up
            silent()
            reader = threading.Thread(target=lambda source=source: all(source.read() for _ in range(100)))
            reader.start()
            reader.join(0.6)
            began = monotonic()
            source.stop()
            reader.join()
            source.close()
            assert monotonic() - began < 2
            relay.let_go()


@scenario()
def a_server_that_accepts_and_does_not_answer(server: int) -> None:
    """An attempt ends after 1.5 s, so that one of the next finds the server that is back."""
    with Relay(server) as relay, open_source(relay.address, way="pyav") as source:
        lines = listened(source)
        relay.answering = False
        relay.hang_up()
        relay.later(2.5, lambda: setattr(relay, "answering", True))
        read(source, 2.6)
        assert source.reconnects == 1
        assert source.supervision is not None
        assert source.supervision.health().outage_seconds < 2.5 + 1.5 + 1
        assert any("it is not back yet" in line for line in lines)


@scenario((25, 0.1), (2, 0.65))
def the_age_of_a_stream_is_a_frame_at_most(server: int, fps: int, limit: float) -> None:
    """One interval, since FFmpeg's parser sees the end of a picture in the next; it was 0.5 s at 25 FPS, 1.3 s at 2."""
    with rtsp_server(fps) as port, open_source(f"rtsp://127.0.0.1:{port}/live") as source:
        ages = read(source, 2.2)[1][-5:]
        assert 0.8 / fps < median(ages) < limit


@scenario(("jpeg", 25, 0.0), ("jpeg without lengths", 25, 0.04), ("mpegts", 4, 0.0))
def the_age_that_is_told_is_the_true_one(server: int, kind: str, fps: int, untold: float) -> None:
    """Also after a stall. Only of JPEG without lengths an interval is missing: nothing tells that it is one."""
    if kind == "mpegts" and "libx264" not in av.codecs_available:
        pytest.skip("this PyAV has no libx264")
    going = threading.Event()
    going.set()
    with web_camera(kind, fps, going) as address, open_source(address) as source:
        read(source, 1.0 + 3 / fps)
        differences = []
        timers = [threading.Timer(0.5, going.clear), threading.Timer(0.5 + 1.6, going.set)]
        for timer in timers:
            timer.start()
        until = monotonic() + 2.8
        while monotonic() < until:
            frame = source.read()
            assert frame is not None
            true = true_age(frame)
            assert true < 1.6  # of the stall
            differences.append(true - (monotonic() - frame.captured))
        for timer in timers:
            timer.join()
        # What is told may be more than the truth where there is doubt. A busy machine may draw, code and send late.
        assert max(differences) < untold + 0.1
        assert median(differences) == pytest.approx(untold, abs=0.02)
        assert source.reconnects == 0


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_fault(running: Running, name: str) -> None:
    running.result(name)
