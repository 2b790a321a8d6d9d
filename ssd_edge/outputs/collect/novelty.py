"""Tell frames of new scenes from near-duplicates of those that were collected."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ssd_edge.data.likeness import LEAST_FOR_MEAN, Look, is_known

_RECENT = 64


class Novelty:
    """Knows the looks of what was collected, and the mean look of the camera.

    Args:
        collected: looks of the frames that are there already.
    """

    def __init__(self, collected: Iterable[Look]) -> None:
        self._collected = list(collected)
        self._recent: deque[Look] = deque(maxlen=_RECENT)

    def is_new(self, look: Look) -> bool:
        """Tell whether a frame shows a scene that was not collected yet; the frame is counted for the mean."""
        self.see(look)
        return not is_known(look, _table(self._collected), self._mean())

    def see(self, look: Look) -> None:
        """Count a frame of the camera for the mean."""
        self._recent.append(look)

    def add(self, look: Look) -> None:
        """Note a frame as collected."""
        self._collected.append(look)

    def remove(self, look: Look) -> None:
        """Forget a frame that is collected no more."""
        self._collected = [one for one in self._collected if one is not look]

    def _mean(self) -> Look | None:
        looks = [*self._recent, *self._collected[-_RECENT:]]
        return _table(looks).mean(axis=0) if len(looks) >= LEAST_FOR_MEAN else None


def _table(looks: list[Look]) -> npt.NDArray[np.float32]:
    return np.stack(looks) if looks else np.zeros((0, 0), np.float32)
