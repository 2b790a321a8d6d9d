"""Exchange the engine of a service when somebody asks for it, or when a newer one lies in its folder."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from ssd_edge.errors import SwapError
from ssd_edge.service.log import Level, Log
from ssd_edge.swap.contract import Contract
from ssd_edge.swap.exchange import Exchange, News, Seat
from ssd_edge.swap.journal import Journal
from ssd_edge.swap.remote import PROGRAM

_ENDING = 60.0  # seconds
_WORRYING = ("refused", "went back", "ended")


class Swaps:
    """Runs one trial at a time.

    Args:
        seat: where the engine works.
        contract: gives the limits.
        journal: takes what happens.
        log: takes lines.
        program: gives the candidate's process; see ``swap.remote.Remote``.
        hindrance: says why no engine may take over now; empty if one may.
    """

    def __init__(
        self,
        seat: Seat,
        contract: Callable[[], Contract],
        journal: Journal,
        log: Log,
        program: Callable[[], Sequence[str]] = lambda: PROGRAM,
        hindrance: Callable[[], str] = str,
    ) -> None:
        self._seat, self._contract, self._journal, self._log = seat, contract, journal, log
        self._program, self._hindrance = program, hindrance
        self._lock = threading.Lock()
        self._now: Exchange | None = None
        self._last: News | None = None
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether a trial runs."""
        return self._now is not None and not self._now.over.is_set()

    def begin(self, model: Path, listen: Callable[[News], None] = lambda news: None) -> None:
        """Begin a trial.

        Args:
            model: the candidate's bundle.
            listen: takes news, by the trial's thread.

        Raises:
            SwapError: another one runs, there is no such bundle, or no engine may take over.
        """
        with self._lock:
            if self._closed:
                raise SwapError("the service is ending")
            if self._now is not None and self.busy:
                raise SwapError(f"{self._now.candidate} is being tried: wait for its end")
            if self._hindrance():
                raise SwapError(self._hindrance())
            if not model.is_dir():
                raise SwapError(f"there is no engine {model}: give a folder NAME.engine of ssd-edge build-engine")

            def tell(news: News) -> None:
                self._last = news
                level: Level = "warning" if news.event in _WORRYING else "info"
                self._log.line(f"{model}: {news.event}: {news.text}", "swap", level)
                listen(news)

            self._now = Exchange(self._seat, model, self._contract(), self._journal, tell, self._program())

    def answers(self, request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """Answer a request of the service's socket: ``{"swap": PATH}`` or ``{"status": true}``.

        Raises:
            SwapError: it cannot be done.
        """
        path = request.get("swap")
        if request.keys() == {"status"}:
            yield self.status()
            return
        if request.keys() != {"swap"} or not isinstance(path, str) or "\0" in path or not Path(path).is_absolute():
            raise SwapError('a request is {"swap": PATH}, with an absolute path, or {"status": true}')
        news: SimpleQueue[News] = SimpleQueue()
        self.begin(Path(path), news.put)
        over = False
        while not over:
            event, text, over = news.get()
            yield {"event": event, "text": text, "over": over}

    def status(self) -> dict[str, Any]:
        """Return what works, and what is tried: plain values for ``json.dumps``."""
        now, last = self._now, self._last
        return {
            "model": str(self._seat.working().model),
            "tried": str(now.candidate) if now is not None and self.busy else None,
            "last": None if last is None else {"event": last.event, "text": last.text},
        }

    def cancel(self, why: str) -> None:
        """End a trial that runs, without a verdict; waits until the old engine works."""
        now = self._now
        if now is not None:
            now.cancel(why)
            now.join(_ENDING)

    def close(self) -> None:
        """End a trial that runs; none begins any more."""
        with self._lock:
            self._closed = True
        self.cancel("the service ended")
