"""The live page of a service: its cameras come and go with the loop's, and zones drawn there go into the file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from ssd_edge.loop.camera import Camera
from ssd_edge.service.config import CameraConfig, PageConfig, ServiceConfig
from ssd_edge.spec import ModelSpec
from ssd_edge.tracking.watch_file import WatchReader
from ssd_edge.web.address import Address
from ssd_edge.web.hub import Machine, Reports
from ssd_edge.web.page import open_page
from ssd_edge.web.store import WatchStore
from ssd_edge.web.tokens import safe_token, token_in
from ssd_edge.web.tuning import Tuning


def token_of(config: PageConfig) -> str | None:
    """Return the page's token; None if it has none.

    Raises:
        PageError: its file cannot be read, or the token is too short to be safe.
    """
    if config.token_file is not None:
        return token_in(config.token_file)
    return None if config.token is None else safe_token(config.token, "page.token of the service's file")


class LivePage(AbstractContextManager["LivePage"]):
    """A page that is served until it is closed. One thread at a time may use it, but for ``saving``.

    Args:
        config: where, and to whom.
        labels: class names of the model.
        running: gives the service's file as it runs.
        say: takes one line if something of the page cannot be made.

    Attributes:
        address: where it is served.
        saving: held while zones are written; who holds it finds in the files what ``as_saved`` says.

    Raises:
        PageError: it cannot be served there.
        MissingDependencyError: its packages are not installed.
    """

    def __init__(
        self,
        config: PageConfig,
        labels: Sequence[str],
        running: Callable[[], ServiceConfig],
        say: Callable[[str], None],
    ) -> None:
        self._running, self._tunings = running, dict[str, Tuning]()
        self.saving = threading.Lock()
        self._page = open_page(config.address, labels, token_of(config), say)
        self.address: Address = self._page.address

    def expect(self, config: CameraConfig, spec: ModelSpec) -> None:
        """Show a camera that is about to be opened, unless it is shown already; arguments as of ``with_view``."""
        if config.name not in self._tunings:
            tuning = self._tunings[config.name] = self._tuning(config, spec)
            self._page.view(config.name, None, tuning)

    def with_view(self, camera: Camera, config: CameraConfig, spec: ModelSpec) -> Camera:
        """Return a camera that the page shows too; one that is opened again goes on as it was moved and drawn.

        Args:
            camera: the camera.
            config: what the service's file says of it.
            spec: the model's spec.
        """
        before = self._tunings.get(config.name)
        tuning = self._tuning(config, spec) if before is None else before.anew(spec)
        self._tunings[config.name] = tuning
        return self._page.with_view(camera, config.name, tuning)

    def lose(self, name: str) -> None:
        """Show that a camera has failed or cannot be opened, and is tried again."""
        self._page.lose(name)

    def forget(self, name: str) -> None:
        """Show a camera no more; it begins as the file says if it comes again."""
        self._tunings.pop(name, None)
        self._page.forget(name)

    def as_saved(self, config: ServiceConfig) -> ServiceConfig:
        """Return a service's file with the zones that were written into it, or into a camera's watch file, since."""

        def saved(camera: CameraConfig) -> CameraConfig:
            tuning = self._tunings.get(camera.name)
            return camera if tuning is None or tuning.store is None else replace(camera, watch=tuning.store.part)

        return replace(config, cameras=tuple(map(saved, config.cameras)))

    def measure(self, reports: Reports, machine: Machine) -> None:
        """Say where numbers come from, see ``Page.measure``."""
        self._page.measure(reports, machine)

    def close(self) -> None:
        """Serve no longer; may be called twice."""
        self._page.close()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _tuning(self, config: CameraConfig, spec: ModelSpec) -> Tuning:
        path = self._running().path
        reader = None if config.watch is None else WatchReader(config.watch_file or path, config.watch)
        return Tuning(spec, config.min_score, self._store(config), reader)

    def _store(self, config: CameraConfig) -> WatchStore | None:
        """Return where a camera's zones are kept; None if they last until it is opened in another way, or the end."""
        running = self._running()
        if config.watch_file is None:
            if not config.watch_as_written:
                return None
            return WatchStore(running.path, ("cameras", config.name, "watch"), config.watch, self.saving)
        shared = sum(camera.watch_file == config.watch_file for camera in running.cameras) > 1
        return None if shared else WatchStore(config.watch_file, (), config.watch, self.saving)
