"""The newest values by key, for readers of any speed: a slow one misses values, and none are kept for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection


class Board:
    """A notice board. All of it is used by one event loop.

    Attributes:
        readers: number of readers by key.
        waiting: number of those that have all that is there, and wait for more.
        is_closed: whether readers end.
    """

    def __init__(self) -> None:
        self.readers: Counter[str] = Counter()
        self.waiting: Counter[str] = Counter()
        self.is_closed = False
        self._values: dict[str, tuple[int, bytes]] = {}
        self._version, self._news = 0, asyncio.Event()

    def post(self, key: str, value: bytes) -> None:
        """Replace a value; readers are told by ``announce``."""
        self._version += 1
        self._values[key] = self._version, value

    def remove(self, key: str) -> None:
        """Forget a value."""
        self._values.pop(key, None)

    def announce(self) -> None:
        """Wake the readers."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    def close(self) -> None:
        """End all readers."""
        self.is_closed = True
        self.announce()

    async def read(self, keys: Collection[str], since_now: bool = False) -> AsyncIterator[tuple[str, bytes]]:
        """Give the newest value of each key, and again whenever it has changed.

        Args:
            keys: the keys.
            since_now: whether values that are there already are left out.
        """
        seen = dict.fromkeys(keys, self._version if since_now else 0)
        self.readers.update(keys)
        try:
            while not self.is_closed:
                news = self._news
                for key in keys:
                    version, value = self._values.get(key, (0, b""))
                    if version > seen[key]:
                        seen[key] = version
                        yield key, value
                if news is self._news and not self.is_closed:
                    self.waiting.update(keys)
                    try:
                        await news.wait()
                    finally:
                        self.waiting.subtract(keys)
        finally:
            self.readers.subtract(keys)
