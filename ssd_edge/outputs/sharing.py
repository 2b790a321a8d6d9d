"""Connections and servers that several outputs use at once: one is opened for the first, and closed after the last."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar


class Shareable(Protocol):
    """What can be shared."""

    @property
    def usable(self) -> bool:
        """Whether it works still; who comes next gets another one otherwise."""

    def close(self) -> None:
        """Close it; called once, after its last user."""


T = TypeVar("T", bound=Shareable)


class Shared(Generic[T]):
    """Things that are shared, by key; any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: dict[Hashable, T] = {}
        self._users: dict[int, int] = {}

    def take(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the thing of this key, made now if there is none that works; each call needs a ``give_back``."""
        with self._lock:
            thing = self._newest.get(key)
            if thing is None or not thing.usable:
                thing = self._newest[key] = make()
            self._users[id(thing)] = self._users.get(id(thing), 0) + 1
            return thing

    def give_back(self, thing: T) -> None:
        """End one use of a thing; after the last it is closed."""
        with self._lock:
            left = self._users.pop(id(thing)) - 1
            if left:
                self._users[id(thing)] = left
                return
            for key in [key for key, newest in self._newest.items() if newest is thing]:
                del self._newest[key]
        thing.close()
