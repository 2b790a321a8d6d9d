"""The pages ``/metrics`` and ``/healthz``, for programs on this machine that look after the service."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import Any

from ssd_edge.errors import ServiceError
from ssd_edge.service.exposition import CONTENT_TYPE
from ssd_edge.web.address import Address, read_address

_MOST_CLIENTS = 8
_PATIENCE = 5.0  # seconds that a client has for its request and for reading the answer


def parse_address(text: str) -> Address:
    """Read ``9090``, ``127.0.0.1:9090`` or ``[::1]:9090``; a port alone is served on loopback.

    Raises:
        ValueError: it is none of these.
    """
    return read_address(text, "metrics", 9090, lowest=1)


class Pages(AbstractContextManager["Pages"]):
    """Serves ``/metrics`` and ``/healthz`` in threads of its own until it is closed.

    Only GET and HEAD are answered, bodies are not read, at most eight clients are served at once, and each has five
    seconds in all.

    Args:
        address: where; port 0 lets the system choose.
        metrics: gives the text of ``/metrics``.
        health: gives whether all is well, and what ``/healthz`` says, for ``json.dumps``.

    Raises:
        ServiceError: the address cannot be used.
    """

    def __init__(
        self, address: Address, metrics: Callable[[], str], health: Callable[[], tuple[bool, dict[str, Any]]]
    ) -> None:
        try:
            self._server = _Server(address, metrics, health)
        except OSError as error:
            raise ServiceError(
                f"metrics cannot be served on {address}: {error.strerror or error}; choose another port, or end the "
                "program that uses it"
            ) from None
        self.address = Address(address.host, self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name="pages", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving; may be called twice."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __exit__(self, *exception: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def __init__(
        self, address: Address, metrics: Callable[[], str], health: Callable[[], tuple[bool, dict[str, Any]]]
    ) -> None:
        self.metrics, self.health = metrics, health
        self.address_family = address.family
        self._clients: dict[Any, float] = {}
        self._lock = threading.Lock()
        super().__init__((address.host, address.port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            full = len(self._clients) >= _MOST_CLIENTS
            if not full:
                self._clients[request] = monotonic()
        if full:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._clients.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        # A time-out of the socket alone is never reached by a client that sends a byte now and then.
        with self._lock:
            late = [request for request, since in self._clients.items() if monotonic() - since > _PATIENCE]
        for request in late:
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that went away is no event."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _PATIENCE
    server_version, sys_version = "ssd-edge", ""

    def do_GET(self) -> None:
        try:
            self._page(self.path.partition("?")[0])
        except OSError:
            raise  # the client went away
        except Exception as error:
            text = f"{type(error).__name__}: {error}\n"
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", text)

    def _page(self, path: str) -> None:
        if path == "/metrics":
            self._answer(HTTPStatus.OK, CONTENT_TYPE, self.server.metrics())
        elif path == "/healthz":
            well, said = self.server.health()
            status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
            self._answer(status, "application/json", json.dumps(said, indent=2) + "\n")
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", "there are /metrics and /healthz\n")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.send_response(HTTPStatus.METHOD_NOT_ALLOWED)
        self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_POST  # noqa: N815

    def _answer(self, status: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that http.server gives it
        """Say nothing: a line for each scrape would fill the journal."""
