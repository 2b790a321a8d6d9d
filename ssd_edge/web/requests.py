"""Read what a request brings, checked and limited."""

from __future__ import annotations

from typing import Annotated, TypeVar
from urllib.parse import parse_qs

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request

from ssd_edge.tracking.plan import Anchor
from ssd_edge.web.tuning import Places

MOST_BYTES = 64 << 10
"""Of a request's body."""

_Form = TypeVar("_Form")

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")]


class ScoreForm(msgspec.Struct, forbid_unknown_fields=True):
    """A score for all classes; None for each class's own."""

    score: Share | None


class ZoneForm(msgspec.Struct, forbid_unknown_fields=True):
    """A zone, with points in fractions of the frame."""

    name: Name
    points: Annotated[list[tuple[Share, Share]], msgspec.Meta(min_length=3, max_length=100)]
    anchor: Anchor = "bottom"
    classes: Annotated[list[str], msgspec.Meta(max_length=1000)] | None = None
    min_time: Annotated[float, msgspec.Meta(ge=0, le=1e6)] | None = None


class LineForm(msgspec.Struct, forbid_unknown_fields=True):
    """A line."""

    name: Name
    points: Annotated[list[tuple[Share, Share]], msgspec.Meta(min_length=2, max_length=2)]
    anchor: Anchor = "bottom"
    classes: Annotated[list[str], msgspec.Meta(max_length=1000)] | None = None


class PlacesForm(msgspec.Struct, forbid_unknown_fields=True):
    """All zones and lines of a camera."""

    zones: Annotated[list[ZoneForm], msgspec.Meta(max_length=50)]
    lines: Annotated[list[LineForm], msgspec.Meta(max_length=50)]

    def places(self) -> Places:
        """Convert to plain values."""
        return {"zones": msgspec.to_builtins(self.zones), "lines": msgspec.to_builtins(self.lines)}


async def body_of(request: Request) -> bytes:
    """Read a body.

    Raises:
        HTTPException: it is too long.
    """
    told = request.headers.get("content-length", "0")
    body = b""
    if told.isdigit() and int(told) <= MOST_BYTES:
        async for part in request.stream():
            body += part
            if len(body) > MOST_BYTES:
                break
        else:
            return body
    raise HTTPException(413, f"the body is longer than {MOST_BYTES} bytes")


async def json_of(request: Request, form: type[_Form]) -> _Form:
    """Read a body in JSON.

    Raises:
        HTTPException: it is none, or of another form.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "send Content-Type: application/json")
    try:
        return msgspec.json.decode(await body_of(request), type=form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HTTPException(400, f"the body is not as expected: {error}") from None


async def field_of(request: Request, name: str) -> str:
    """Read a field of a form that was posted; empty if it is missing."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise HTTPException(415, "send Content-Type: application/x-www-form-urlencoded")
    try:
        fields = parse_qs((await body_of(request)).decode("ascii"), max_num_fields=8)
    except ValueError:
        raise HTTPException(400, "the body is not a form") from None
    return fields.get(name, [""])[0]
