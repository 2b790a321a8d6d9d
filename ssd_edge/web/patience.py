"""The limits of a connection: how many there are, and how long a slow client is waited for."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CLIENTS = 64
"""Connections at a time; a browser takes two or three for each page."""

_REQUEST_SECONDS = 10.0
"""Seconds within which a whole request has to come."""

_READING_SECONDS = 10.0
"""Seconds that a client may leave what it was sent unread."""

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 5\r\nConnection: close\r\n"
    b"Content-Length: 30\r\n\r\ntoo many look at this page now"
)


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that cuts clients off which send or read too slowly: what waits for them takes memory and a place."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._request: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a client, unless there are too many."""
        super().connection_made(transport)
        self._request = self.loop.call_later(_REQUEST_SECONDS, self._cut)
        if len(self.connections) > MOST_CLIENTS:
            transport.write(_FULL)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a client."""
        self._request = _ended(self._request)
        self._reading = _ended(self._reading)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in a part of a request; the whole of it has to come in time."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        is_whole = self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete
        if is_whole:
            self._request = _ended(self._request)
        elif self._request is None:
            self._request = self.loop.call_later(_REQUEST_SECONDS, self._cut)

    def on_response_complete(self) -> None:
        """Go on to the next request, of which nothing has come yet."""
        self._request = _ended(self._request)
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Begin to wait for a client that does not read."""
        super().pause_writing()
        self._reading = self._reading or self.loop.call_later(_READING_SECONDS, self._cut)

    def resume_writing(self) -> None:
        """Note that it has read."""
        self._reading = _ended(self._reading)
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, also if its client has not read the last answer."""
        self._cut()

    def _cut(self) -> None:
        self.transport.abort()


def _ended(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """Cancel a timer; what is left of it is None."""
    if timer is not None:
        timer.cancel()
    return None
