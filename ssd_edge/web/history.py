"""The last minutes' numbers, for the charts of a page that is opened later."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

KEPT = 300
"""Samples, one a second."""

_CAMERA = ("fps", "p50", "p99", "age", "dropped")
_MACHINE = ("celsius", "watts")


class History:
    """Numbers of the cameras and the machine, one sample a second for five minutes."""

    def __init__(self) -> None:
        self._samples: deque[dict[str, Any]] = deque(maxlen=KEPT)

    def add(self, numbers: Mapping[str, Any]) -> None:
        """Take in a sample, as ``Hub`` sends it."""
        self._samples.append(
            {
                "cameras": {name: [camera.get(key) for key in _CAMERA] for name, camera in numbers["cameras"].items()},
                "machine": [numbers["machine"].get(key) for key in _MACHINE],
            }
        )

    def columns(self) -> dict[str, Any]:
        """Return the samples by camera and number, oldest first; None where there was none."""
        names = list(dict.fromkeys(name for sample in self._samples for name in sample["cameras"]))
        nothing = [None] * len(_CAMERA)
        return {
            "cameras": {
                name: {
                    key: [sample["cameras"].get(name, nothing)[place] for sample in self._samples]
                    for place, key in enumerate(_CAMERA)
                }
                for name in names
            },
            "machine": {
                key: [sample["machine"][place] for sample in self._samples] for place, key in enumerate(_MACHINE)
            },
        }
