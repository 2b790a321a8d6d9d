"""What every request passes: same-origin rules, the token, and the headers of every answer."""

from __future__ import annotations

import ipaddress
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ssd_edge.web.tokens import COOKIE, Door

OPEN_PATHS = ("/", "/login", "/static/style.css", "/static/icon.svg")
"""What can be asked for without a session; ``/`` is the form for the token then."""

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """Middleware that refuses what does not come from the page itself, or from somebody without a session.

    Args:
        app: what answers the others.
        door: who may come in.
        names: host names that a request may name; None for any, which is safe only with a token: a page of somebody
            else, whose name leads here (DNS rebinding), has no session.
    """

    def __init__(self, app: ASGIApp, door: Door, names: frozenset[str] | None) -> None:
        self._app, self._door, self._names = app, door, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        scope["session"] = session_of(headers)
        scope["admitted"] = self._door.knows(scope["session"]) or self._has_bearer(headers)
        refusal = self._refusal(scope, headers)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    answer[name] = value
                answer.setdefault("Cache-Control", "no-store")
            await send(message)

        await (refusal or self._app)(scope, receive, with_headers)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return refused(421, "this is not the host that you asked for: use the page's address as it was printed")
        unsafe = scope["method"] not in ("GET", "HEAD")
        site = headers.get("sec-fetch-site", "same-origin")
        navigates = scope["path"] == "/" and not unsafe
        if site in ("cross-site", "same-site") and not navigates:
            return refused(403, "another site's page may not ask for this")
        origin = headers.get("origin")
        if scope["path"] == "/login" and origin == "null":
            origin = None  # what a form sends under no-referrer; it changes nothing for who does not know the token
        if origin is not None and origin.partition("://")[2].lower() != hosts[0].lower():
            return refused(403, "another site's page may not ask for this")
        if not scope["admitted"] and scope["path"] not in OPEN_PATHS:
            return refused(401, "log in first, or send the header Authorization: Bearer TOKEN")
        return None

    def _is_ours(self, host: str) -> bool:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if self._names is None or name.lower() in self._names:
            return True
        try:  # an address is no name that could lead elsewhere
            return ipaddress.ip_address(name.strip("[]")).is_loopback
        except ValueError:
            return False

    def _has_bearer(self, headers: Headers) -> bool:
        kind, _, token = headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and self._door.fits(token.strip())


def session_of(headers: Headers) -> str:
    """Return the secret of a request's session; empty if it has none."""
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def refused(status: int, sentence: str) -> JSONResponse:
    """Make the answer to a request that is refused."""
    return JSONResponse({"error": sentence}, status)
