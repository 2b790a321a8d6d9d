"""The loop's FPS while 200 slow clients hang on its page, compared with the same loop without them, in pairs.

python benchmarks/web.py HOST PORT    runs the clients alone
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from statistics import median
from time import monotonic, sleep

from building import SSDLITE300
from figure import Figure

CLIENTS, PAIRS, SECONDS = 200, 7, 6.0
_READS_EVERY, _COMES_AGAIN = 0.25, 5.0  # seconds
_MOST_MEMORY = 64.0  # MiB


def slow_clients(address: tuple[str, int]) -> None:
    """Ask for the pictures 200 times, read 512 bytes now and then, and come again after a refusal; without end."""
    clients: list[socket.socket | None] = [None] * CLIENTS
    due = [0.0] * CLIENTS
    while True:
        for place, client in enumerate(clients):
            if client is None:
                if monotonic() >= due[place]:
                    clients[place] = _asking(address)
                continue
            try:
                gone = not client.recv(512)
            except BlockingIOError:
                gone = False
            except OSError:
                gone = True
            if gone:
                client.close()
                clients[place], due[place] = None, monotonic() + _COMES_AGAIN
        sleep(_READS_EVERY)


def _asking(address: tuple[str, int]) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(5)
    with suppress(OSError):
        client.connect(address)
        client.sendall(b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    client.setblocking(False)
    return client


def measure() -> Figure:
    """Measure an SSDLite in turns with and without clients, so that other work on the machine meets both."""
    from ssd_edge.engines.bundle.build import build_bundle
    from ssd_edge.engines.bundle.load import load_bundle
    from ssd_edge.export import export_onnx
    from ssd_edge.stream.sources import open_source
    from ssd_edge.training.checkpoints import load_checkpoint
    from ssd_edge.web.address import parse_address
    from ssd_edge.web.page import open_page
    from ssd_edge.web.tuning import LOWEST_SCORE

    with open_source("synthetic", realtime=False) as source:
        kept = [frame for _ in range(32) if (frame := source.read()) is not None]
    with tempfile.TemporaryDirectory() as scratch:
        onnx, bundle = Path(scratch) / "heads.onnx", Path(scratch) / "heads.engine"
        export_onnx(load_checkpoint(SSDLITE300).eval(), onnx)
        build_bundle(onnx, bundle, "openvino")
        with load_bundle(bundle) as engine, open_page(parse_address("0"), engine.spec.labels) as page:
            detector = engine.detector(LOWEST_SCORE)
            _fps(page, detector, kept, 2.0)
            alone, beside, before, most = [], [], _memory(), 0.0
            for number in range(2 * PAIRS):
                if number % 4 in (0, 3):  # alone, beside, beside, alone: a drift of the machine meets both
                    alone.append(_fps(page, detector, kept, SECONDS))
                    continue
                command = [sys.executable, __file__, page.address.host, str(page.address.port)]
                with subprocess.Popen(command) as clients:
                    sleep(2.0)
                    beside.append(_fps(page, detector, kept, SECONDS))
                    most = max(most, _memory())
                    clients.kill()
                sleep(0.5)
    ratios = [with_clients / without for without, with_clients in zip(alone, beside, strict=True)]
    value, grown = median(ratios), (most - before) / (1 << 20)
    return Figure(
        "web",
        value,
        f"of the loop's FPS with {CLIENTS} slow clients on the page",
        f">= 0.9, and at most {_MOST_MEMORY:.0f} MiB more memory",
        value >= 0.9 and grown <= _MOST_MEMORY,
        {"ratios": ratios, "FPS alone": alone, "FPS with clients": beside, "MiB more": grown},
        f"{median(beside):.0f} of {median(alone):.0f} FPS, {grown:.0f} MiB more",
    )


def _fps(page, detector, kept, seconds: float) -> float:
    from ssd_edge.loop.benchmark import Replay
    from ssd_edge.loop.run import run_loop
    from ssd_edge.stream.buffers import EVERY
    from ssd_edge.web.tuning import Tuning

    source = Replay(kept, 1 << 30)
    view = page.view("camera", source, Tuning(detector.spec))
    return run_loop(detector, source, [view], buffer=EVERY, duration=seconds, shown=view.shown).fps


def _memory() -> float:
    """Return the process's resident memory in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return float(pages * 4096)


if __name__ == "__main__":
    slow_clients((sys.argv[1], int(sys.argv[2])))
