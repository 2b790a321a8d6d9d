"""Turn the newest frames and numbers into what browsers get: each once, however many look, and only if one waits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any
from urllib.parse import quote

from ssd_edge.loop.stats import LoopReport
from ssd_edge.web.board import Board
from ssd_edge.web.history import History
from ssd_edge.web.view import View
from ssd_edge.web.wire import boxes_of, constants, numbers_of, picture_of, state_of, status_of

MOST_PICTURES = 15
"""Pictures a second that the page shows; boxes come as often."""

_STATUS_EVERY, _NUMBERS_EVERY = 0.25, 1.0  # seconds

Reports = Callable[[], Mapping[str, LoopReport]]
Machine = Callable[[], Mapping[str, Any]]


def no_reports() -> Mapping[str, LoopReport]:
    """Give no camera's report."""
    return {}


def no_machine() -> Mapping[str, Any]:
    """Give no readings of the machine."""
    return {}


class Hub:
    """Belongs to the event loop of the page's thread; only ``views`` is changed by other threads.

    Args:
        labels: class names of the model.
        say: takes one line if something of the page cannot be made.

    Attributes:
        views: the cameras by name; a changed one is another dict.
        reports: gives each camera's report.
        machine: gives ``celsius`` and ``watts``, as far as they are known, and ``limits``.
    """

    def __init__(self, labels: tuple[str, ...], say: Callable[[str], None] = lambda line: None) -> None:
        self.labels, self.views = labels, dict[str, View]()
        self._say, self._said = say, ""
        self.reports: Reports = no_reports
        self.machine: Machine = no_machine
        self.board, self.history = Board(), History()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="page pictures")
        self._sent: dict[tuple[str, str], int] = {}
        self._known: dict[str, Any] = {}
        self._status_due = self._numbers_due = 0.0

    async def pump(self) -> None:
        """Post what is new, until cancelled."""
        while True:
            began = monotonic()
            try:
                await self._post_news(began)
            except Exception as error:  # the page goes on with the next frame, whatever is wrong with this one
                self._say_once(f"the page left something out: {type(error).__name__}: {error}")
            self.board.announce()
            await asyncio.sleep(max(0.005, 1 / MOST_PICTURES - (monotonic() - began)))

    def close(self) -> None:
        """End all readers, and the thread that compresses."""
        self.board.close()
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def work(self, task: Callable[[], Any]) -> Any:
        """Do something slow beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, task)

    def state(self) -> dict[str, Any]:
        """Return what the page shows beside frames and numbers."""
        return {**constants(self.labels), "cameras": [state_of(view) for view in self.views.values()]}

    async def events(self) -> AsyncIterator[bytes]:
        """Give all but the pictures, as Server-Sent Events."""
        yield _event("history", json.dumps(self.history.columns()).encode())
        async for key, value in self.board.read(("state", "status", "numbers", "boxes")):
            yield _event(key, value)

    async def pictures(self, names: tuple[str, ...]) -> AsyncIterator[bytes]:
        """Give the pictures of some cameras, as the parts of one Motion JPEG stream."""
        async for _, part in self.board.read([f"picture {name}" for name in names]):
            yield part

    async def _post_news(self, now: float) -> None:
        if self.board.readers["state"]:
            self._post_state()
        if now >= self._status_due and self.board.readers["status"]:
            self._status_due = now + _STATUS_EVERY
            self._post("status", {name: status_of(view) for name, view in self.views.items()})
        if now >= self._numbers_due:
            self._numbers_due = now + _NUMBERS_EVERY
            await self._post_numbers()
        self._drop_gone()
        await self._post_frames()

    def _drop_gone(self) -> None:
        """Forget what was posted of cameras that the page shows no more."""
        for name, key in [sent for sent in self._sent if sent[0] not in self.views]:
            del self._sent[name, key]
            if key != "boxes":  # which are those of all cameras
                self.board.remove(key)

    def _say_once(self, line: str) -> None:
        if line != self._said:
            self._said = line
            self._say(line)

    def _post(self, key: str, value: Any) -> None:
        self.board.post(key, json.dumps(value, separators=(",", ":")).encode())

    def _post_state(self) -> None:
        state = self.state()
        if state != self._known:
            self._known = state
            self._post("state", state)

    async def _post_frames(self) -> None:
        boxes = {}
        for name, view in self.views.items():
            shot = view.newest
            if shot is None:
                continue
            if self.board.readers["boxes"] and self._sent.get((name, "boxes")) != shot.number:
                self._sent[name, "boxes"] = shot.number
                boxes[name] = boxes_of(shot, view)
            key = f"picture {name}"
            # None is made while all readers are busy with an earlier one: a slow one then gets a new one, not an old.
            if self.board.waiting[key] and self._sent.get((name, key)) != shot.number:
                self._sent[name, key] = shot.number
                jpeg = await self.work(lambda shot=shot: picture_of(shot))  # type: ignore[misc]
                self.board.post(key, _part(name, shot.number, jpeg))
        if boxes:
            self._post("boxes", boxes)

    async def _post_numbers(self) -> None:
        numbers = await self.work(self._numbers)
        self.history.add(numbers)
        if self.board.readers["numbers"]:
            self._post("numbers", numbers)

    def _numbers(self) -> dict[str, Any]:
        reports = self.reports()
        cameras = {name: numbers_of(view, reports.get(name)) for name, view in self.views.items()}
        return {"cameras": cameras, "machine": dict(self.machine())}


def _event(name: str, data: bytes) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"


BOUNDARY = "frame"
"""Separates the parts of a Motion JPEG stream."""


def _part(name: str, number: int, jpeg: bytes) -> bytes:
    head = (
        f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n"
        f"X-Camera: {quote(name)}\r\nX-Frame: {number}\r\n\r\n"
    )
    return head.encode() + jpeg + b"\r\n"
