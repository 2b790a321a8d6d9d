"""Serve the page in a thread of its own, beside the loop."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from ssd_edge.errors import MissingDependencyError, PageError
from ssd_edge.loop.camera import Camera
from ssd_edge.stream.frames import Source
from ssd_edge.web.address import Address
from ssd_edge.web.hub import Hub, Machine, Reports
from ssd_edge.web.tokens import VARIABLE, Door, refuse_without_token
from ssd_edge.web.tuning import Tuning
from ssd_edge.web.view import View

if TYPE_CHECKING:
    import uvicorn

_ENDING = 5.0  # seconds
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Page(AbstractContextManager["Page"]):
    """A page that is being served until it is closed; see ``open_page``. Any thread may call its methods."""

    def __init__(self, listening: socket.socket, server: uvicorn.Server, hub: Hub) -> None:
        self._socket, self._server, self._hub = listening, server, hub
        host, port = listening.getsockname()[:2]
        self.address = Address(host, port)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = threading.Thread(target=self._run, name="page", daemon=True)
        self._thread.start()

    def view(self, name: str, source: Source | None, tuning: Tuning) -> View:
        """Show a camera, in the place of one with the same name.

        The view is to be one of the camera's sinks, and ``View.shown`` what chooses its detections.

        Args:
            name: what the page calls it: no address and no path.
            source: its source; None while it is being opened.
            tuning: what counts, and is watched.
        """
        view = View(name, source, tuning)
        with self._lock:
            self._hub.views = {**self._hub.views, name: view}
        return view

    def with_view(self, camera: Camera, name: str, tuning: Tuning) -> Camera:
        """Return a camera that the page shows too; arguments as of ``view``."""
        view = self.view(name, camera.source, tuning)
        return replace(camera, sinks=[view, *camera.sinks], shown=view.shown)

    def lose(self, name: str) -> None:
        """Show a camera as lost: it has failed or cannot be opened, and is tried again."""
        view = self._hub.views.get(name)
        if view is not None:
            view.lose()

    def forget(self, name: str) -> None:
        """Show a camera no more."""
        with self._lock:
            self._hub.views = {other: view for other, view in self._hub.views.items() if other != name}

    def measure(self, reports: Reports, machine: Machine | None = None) -> None:
        """Say where numbers come from.

        Args:
            reports: gives the cameras' reports by their names on the page.
            machine: gives ``celsius``, ``watts`` and ``limits``, as far as they are known.
        """
        self._hub.reports = reports
        if machine is not None:
            self._hub.machine = machine

    def close(self) -> None:
        """Serve no longer; may be called twice."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._server.should_exit = True
            thread.join(_ENDING)
            self._socket.close()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        pump = asyncio.create_task(self._hub.pump())
        serving = asyncio.create_task(self._server.serve([self._socket]))
        while not self._server.should_exit:
            await asyncio.sleep(0.1)
        self._hub.close()
        pump.cancel()
        with suppress(asyncio.CancelledError):
            await pump
        await serving


def open_page(
    address: Address,
    labels: Sequence[str],
    token: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Page:
    """Begin to serve a page, on which no camera is yet.

    Args:
        address: where; port 0 lets the system choose.
        labels: class names of the model.
        token: what a visitor has to know; None for everybody on this machine.
        say: takes one line if something of the page cannot be made; by the page's thread.

    Raises:
        PageError: the address cannot be used, or is not loopback and there is no token.
        MissingDependencyError: starlette or uvicorn is not installed.
    """
    check_page(address, token)
    from ssd_edge.web.app import make_app
    from ssd_edge.web.serving import make_server

    try:
        listening = socket.create_server((address.host, address.port), family=address.family, backlog=64)
    except OSError as error:
        raise PageError(
            f"the page cannot be served on {address}: {error.strerror or error}; choose another port, or end the "
            "program that uses it"
        ) from None
    hub = Hub(tuple(labels), say)
    names = _LOOPBACK_NAMES if token is None else None
    return Page(listening, make_server(make_app(hub, Door(token), names)), hub)


def check_page(address: Address, token: str | None) -> None:
    """Check that a page may and can be served, before anything starts; raises as ``open_page``."""
    refuse_without_token(
        address, token is not None, f"--page-token-file FILE, or the environment's variable {VARIABLE}"
    )
    for package in ("starlette", "uvicorn"):
        try:
            __import__(package)
        except ImportError:
            raise MissingDependencyError(package, "page", "the live page") from None
