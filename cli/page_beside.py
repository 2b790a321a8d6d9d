"""The live page beside the loop of ``run``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ssd_edge.cli.page_options import PageChoice

if TYPE_CHECKING:
    from ssd_edge.loop.camera import Camera
    from ssd_edge.loop.run import CameraLoop
    from ssd_edge.loop.stats import LoopReport
    from ssd_edge.spec import ModelSpec
    from ssd_edge.tracking.watch import Watch
    from ssd_edge.tracking.watch_file import WatchReader
    from ssd_edge.web.page import Page
    from ssd_edge.web.tuning import Tuning


class Watching(NamedTuple):
    """What cameras count from the start on.

    Attributes:
        spec: the model's spec.
        min_score: score for all classes; None for each class's own.
        file: the watch file, if zones drawn on the page are to be written to it.
        reader: what to watch; None for nothing.
    """

    spec: ModelSpec
    min_score: float | None
    file: Path | None
    reader: WatchReader | None


class PageBeside:
    """A page that is being served; see ``page_beside``."""

    def __init__(self, page: Page, watching: Watching) -> None:
        self._page, self._watching = page, watching
        self._tunings: dict[str, Tuning] = {}
        self._names: dict[str, str] = {}

    def with_view(self, camera: Camera, name: str) -> Camera:
        """Return a camera that the page shows too.

        Args:
            camera: the camera.
            name: what the page calls it.
        """
        from ssd_edge.web.store import WatchStore
        from ssd_edge.web.tuning import Tuning

        spec, min_score, file, reader = self._watching
        tuning = Tuning(spec, min_score, None if file is None else WatchStore(file), reader)
        self._tunings[camera.name], self._names[camera.name] = tuning, name
        return self._page.with_view(camera, name, tuning)

    def watches(self) -> dict[str, Watch | None]:
        """Return what watches each camera now."""
        return {name: tuning.watch for name, tuning in self._tunings.items()}

    def measure(self, loop: CameraLoop) -> None:
        """Show the numbers of a loop, and of the machine."""
        from ssd_edge.web.machine import machine_now

        def reports() -> Mapping[str, LoopReport]:
            return {self._names[name]: report for name, report in loop.report().cameras.items() if name in self._names}

        self._page.measure(reports, machine_now)


@contextmanager
def page_beside(
    choice: PageChoice | None, watching: Watching, say: Callable[[str], None]
) -> Iterator[PageBeside | None]:
    """Serve the page while the block runs, if there is to be one.

    Raises:
        PageError: its address cannot be used.
    """
    if choice is None:
        yield None
        return
    from ssd_edge.web.page import open_page

    with open_page(choice.address, watching.spec.labels, choice.token, say) as page:
        say(f"page: http://{page.address}/")
        yield PageBeside(page, watching)
