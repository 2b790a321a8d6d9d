"""The page's few endpoints; ``static/openapi.json`` describes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from html import escape
from importlib.resources import files
from typing import cast
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Send

from ssd_edge.errors import PageError, SsdEdgeError
from ssd_edge.web.guard import Guard, refused
from ssd_edge.web.hub import BOUNDARY, Hub
from ssd_edge.web.requests import PlacesForm, ScoreForm, field_of, json_of
from ssd_edge.web.tokens import COOKIE, Door
from ssd_edge.web.view import View
from ssd_edge.web.wire import snapshot_of, state_of

_KINDS = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
}

_WRONG_TOKEN_DELAY = 1.0  # seconds


class _Live(StreamingResponse):
    """A stream without end, which ends at once when its client goes away."""

    async def stream_response(self, send: Send) -> None:
        async with aclosing(cast("AsyncGenerator[bytes]", self.body_iterator)):
            await super().stream_response(send)


def make_app(hub: Hub, door: Door, names: frozenset[str] | None) -> ASGIApp:
    """Make the application.

    Args:
        hub: what there is to see.
        door: who may see it.
        names: host names that a request may name, see ``Guard``.
    """
    pages = _Pages(hub, door)
    routes = [
        Route("/", pages.index),
        Route("/login", pages.login, methods=["POST"]),
        Route("/static/{name}", pages.static),
        Route("/openapi.json", pages.openapi),
        Route("/api/state", pages.state),
        Route("/api/events", pages.events),
        Route("/api/stream", pages.stream),
        Route("/api/cameras/{camera}/snapshot", pages.snapshot),
        Route("/api/cameras/{camera}/score", pages.score, methods=["PUT"]),
        Route("/api/cameras/{camera}/places", pages.places, methods=["PUT"]),
        Route("/api/cameras/{camera}/watch", pages.watch),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _on_refusal, SsdEdgeError: _on_error})
    return Guard(app, door, names)


def read_static() -> Mapping[str, bytes]:
    """Read the front end: nothing else can ever be asked for by a path."""
    return {file.name: file.read_bytes() for file in files("ssd_edge.web").joinpath("static").iterdir()}


def _on_refusal(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    answer = refused(status, str(error.detail) if isinstance(error, HTTPException) else "")
    if isinstance(error, HTTPException) and error.headers:
        answer.headers.update(error.headers)
    return answer


def _on_error(request: Request, error: Exception) -> Response:
    return refused(409 if isinstance(error, PageError) else 422, str(error))


class _Pages:
    def __init__(self, hub: Hub, door: Door) -> None:
        self._hub, self._door, self._static = hub, door, read_static()

    async def index(self, request: Request) -> Response:
        if request.scope["admitted"]:
            return self._file("index.html")
        return self._login_page("", 200)

    async def login(self, request: Request) -> Response:
        token = await field_of(request, "token")
        if not self._door.fits(token):
            await asyncio.sleep(_WRONG_TOKEN_DELAY)
            return self._login_page("This is not the token.", 403)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, self._door.admit(), httponly=True, samesite="strict", path="/")
        return answer

    async def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._static or name.endswith(".html"):
            raise HTTPException(404, "there is no such file")
        return self._file(name)

    async def openapi(self, request: Request) -> Response:
        return self._file("openapi.json")

    async def state(self, request: Request) -> Response:
        return JSONResponse(self._hub.state())

    async def events(self, request: Request) -> Response:
        return _stream(request, self._hub.events, "text/event-stream")

    async def stream(self, request: Request) -> Response:
        names = tuple(dict.fromkeys(request.query_params.getlist("camera"))) or tuple(self._hub.views)
        for name in names:
            self._view(name)
        kind = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        return _stream(request, partial(self._hub.pictures, names), kind)

    async def snapshot(self, request: Request) -> Response:
        view = self._view(request.path_params["camera"])
        boxes = request.query_params.get("boxes", "1")
        if boxes not in ("0", "1"):
            raise HTTPException(400, "boxes is 0 or 1")
        shot = view.newest
        if shot is None:
            raise HTTPException(404, "this camera has given no frame yet")
        jpeg = await self._hub.work(lambda: snapshot_of(shot, view.tuning.labels, boxes == "1"))
        name = f"{view.name}-{shot.frame.index}.jpg"
        return Response(jpeg, media_type="image/jpeg", headers={"Content-Disposition": _attachment(name)})

    async def score(self, request: Request) -> Response:
        view = self._view(request.path_params["camera"])
        form = await json_of(request, ScoreForm)
        await self._hub.work(lambda: view.tuning.change_score(form.score))
        return JSONResponse(state_of(view))

    async def places(self, request: Request) -> Response:
        view = self._view(request.path_params["camera"])
        form = await json_of(request, PlacesForm)
        await self._hub.work(lambda: view.tuning.change_places(form.places()))
        return JSONResponse(state_of(view))

    async def watch(self, request: Request) -> Response:
        view = self._view(request.path_params["camera"])
        return Response(
            view.tuning.as_yaml(),
            media_type="application/yaml",
            headers={"Content-Disposition": _attachment("watch.yaml")},
        )

    def _view(self, name: str) -> View:
        view = self._hub.views.get(name)
        if view is None:
            raise HTTPException(404, "there is no such camera")
        return view

    def _file(self, name: str) -> Response:
        # no-cache: the next version's page must not run with the last one's modules
        headers = {"Cache-Control": "no-cache"}
        return Response(self._static[name], headers=headers, media_type=_KINDS[name.rpartition(".")[2]])

    def _login_page(self, error: str, status: int) -> Response:
        page = self._static["login.html"].decode().replace("{{error}}", escape(error))
        return Response(page, status, media_type=_KINDS["html"])


def _stream(request: Request, parts: Callable[[], object], kind: str) -> Response:
    if request.method == "HEAD":
        return Response(headers={"Content-Type": kind})
    return _Live(cast("AsyncGenerator[bytes]", parts()), headers={"Content-Type": kind})


def _attachment(name: str) -> str:
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"
