from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra page is not installed")
pytest.importorskip("uvicorn", reason="the extra page is not installed")

from ssd_edge.loop.camera import Camera
from ssd_edge.loop.run import CameraLoop
from ssd_edge.web.address import parse_address
from ssd_edge.web.page import Page, open_page
from ssd_edge.web.store import WatchStore
from ssd_edge.web.tuning import Tuning
from ssd_edge.web.view import View
from tests.web.known import KnownCamera, KnownDetector


class Running:
    """A page beside a loop on cameras whose objects are known."""

    def __init__(self, page: Page, loop: CameraLoop) -> None:
        self.page, self.loop, self.sources, self.views = page, loop, dict[str, KnownCamera](), dict[str, View]()
        self.said: list[str] = []

    @property
    def url(self) -> str:
        return f"http://{self.page.address}"

    def add(self, name: str, watch: Path | None = None, fps: float = 10.0) -> None:
        tuning = Tuning(KnownDetector().spec, None, None if watch is None else WatchStore(watch))
        source = self.sources[name] = KnownCamera(len(self.sources), fps=fps)
        view = self.views[name] = self.page.view(name, source, tuning)
        self.loop.add(Camera(name, source, [view], view.shown))


@pytest.fixture
def run_page() -> Iterator[Callable[..., Running]]:
    with ExitStack() as stack:

        def start(token: str | None = None) -> Running:
            detector = KnownDetector()
            loop = stack.enter_context(CameraLoop(detector))
            said: list[str] = []
            page = stack.enter_context(open_page(parse_address("0"), detector.spec.labels, token, said.append))
            running = Running(page, loop)
            running.said = said
            running.add("belt")
            page.measure(lambda: loop.report().cameras, lambda: {"celsius": 50.0, "watts": 12.0, "limits": []})
            thread = threading.Thread(target=loop.run, name="loop", daemon=True)
            thread.start()
            stack.callback(thread.join, 30)
            stack.callback(loop.stop)
            return running

        yield start
