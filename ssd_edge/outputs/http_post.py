"""POST to a web server within a time limit, and again where that cannot do harm."""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from time import monotonic

from ssd_edge.errors import SinkError
from ssd_edge.outputs.endpoint import Endpoint

TIMEOUT = 5.0
"""Seconds that a message may take, with all attempts."""
_PAUSES = 0.2, 0.8  # seconds before the second and third attempt
_TRY_AGAIN = (
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
"""Answers of a server that did not take the message, and may do so soon."""


class _NotNow(Exception):  # noqa: N818 - ends in another attempt or an error
    """An attempt failed, and another one may succeed."""


class HttpPost:
    """Sends messages to one address, each by a connection of its own; proxies are not used, redirects not followed.

    Args:
        endpoint: an ``http`` or ``https`` address; certificates are verified.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._tls = ssl.create_default_context() if endpoint.scheme == "https" else None
        self._authorization: dict[str, str] = {}
        if endpoint.user:
            pair = base64.b64encode(f"{endpoint.user}:{endpoint.password}".encode()).decode()
            self._authorization = {"Authorization": f"Basic {pair}"}

    def check(self) -> None:
        """Connect, and hang up.

        Raises:
            SinkError: the server cannot be reached.
        """
        try:
            with self._connected(monotonic() + TIMEOUT):
                pass
        except _NotNow as error:
            raise SinkError(f"{self._endpoint} {error}") from None

    def send(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Send a message; a receiver may get it twice, so it must carry an id.

        It is sent again, at most twice, where the server was not reached, hung up without an answer, or is busy (429,
        502, 503, 504). It is not where it may be working on it still, or refuses it.

        Raises:
            SinkError: it was not taken.
        """
        deadline = monotonic() + TIMEOUT
        for pause in (*_PAUSES, None):
            try:
                self._attempt(body, headers, deadline)
                return
            except _NotNow as error:
                if pause is None or monotonic() + pause >= deadline:
                    raise SinkError(f"{self._endpoint} {error}") from None
                threading.Event().wait(pause)

    def _attempt(self, body: bytes, headers: Mapping[str, str], deadline: float) -> None:
        with self._connected(deadline) as connection:
            connection.request("POST", self._endpoint.path or "/", body, {**headers, **self._authorization})
            status = connection.getresponse().status
            if monotonic() >= deadline:  # a head that was cut reads as a whole one
                raise TimeoutError
        if status in _TRY_AGAIN:
            raise _NotNow(f"is busy: it answers {_named(status)}")
        if status // 100 == 3:
            raise SinkError(
                f"{self._endpoint} answers {_named(status)}, which points to another address: give that one, since "
                "messages are not sent on"
            )
        if status // 100 != 2:
            raise SinkError(f"{self._endpoint} refuses the message: it answers {_named(status)}{_hint(status)}")

    @contextmanager
    def _connected(self, deadline: float) -> Iterator[http.client.HTTPConnection]:
        """Connect; at the deadline the connection is cut, so that a server which dribbles cannot hold the output."""
        left = max(0.05, deadline - monotonic())
        host, port = self._endpoint.host, self._endpoint.port
        connection = (
            http.client.HTTPConnection(host, port, timeout=left)
            if self._tls is None
            else http.client.HTTPSConnection(host, port, timeout=left, context=self._tls)
        )
        cut = threading.Timer(left, _cut, [connection])
        cut.daemon = True
        cut.start()
        try:
            connection.connect()
            yield connection
        except ssl.SSLCertVerificationError as error:
            raise SinkError(
                f"this machine does not trust the certificate of {self._endpoint} ({error.verify_message}): set "
                "SSL_CERT_FILE to the file of the authority that signed it"
            ) from None
        except UnicodeError:
            raise SinkError(f"{self._endpoint} cannot be reached: its host name is none") from None
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, TimeoutError) or monotonic() >= deadline:
                raise SinkError(f"{self._endpoint} does not answer within {TIMEOUT:.0f} s") from None
            if isinstance(error, http.client.RemoteDisconnected | ConnectionError):
                raise _NotNow(f"does not answer: {_why(error)}") from None
            raise SinkError(f"{self._endpoint} cannot be reached: {_why(error)}") from None
        finally:
            cut.cancel()
            connection.close()


def _cut(connection: http.client.HTTPConnection) -> None:
    sock = connection.sock
    if sock is not None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _why(error: OSError | http.client.HTTPException) -> str:
    if isinstance(error, http.client.RemoteDisconnected):
        return "it hangs up"
    if isinstance(error, http.client.HTTPException):
        return "this is no HTTP"
    return error.strerror or type(error).__name__


def _named(status: int) -> str:
    with suppress(ValueError):
        return f"{status} {HTTPStatus(status).phrase}"
    return str(status)


def _hint(status: int) -> str:
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return "; set SSD_EDGE_WEBHOOK_TOKEN, or SSD_EDGE_WEBHOOK_USER and SSD_EDGE_WEBHOOK_PASSWORD"
    return "; check the path of its address" if status == HTTPStatus.NOT_FOUND else ""
