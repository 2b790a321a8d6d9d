"""What a program holds on a GPU, given back once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress
from types import TracebackType
from typing import TypeVar

from ssd_edge.engines.cuda.driver import CudaError

_Self = TypeVar("_Self", bound="Resource")


class Resource:
    """A resource that is released once, at the end of its ``with`` or by ``close``."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back: Callable[[], None] | None = give_back

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The first error is the one to report: releases that fail after it mostly fail because of it.
        with suppress(CudaError) if error is not None else nullcontext():
            self.close()

    def close(self) -> None:
        """Release it; a second call does nothing."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()
