"""Selftest section that compares frames in batches with the same frames alone, and times both."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from ssd_edge.detections import Detections
from ssd_edge.detector import Detector, Engine, Result
from ssd_edge.engines.base import BuildOptions
from ssd_edge.engines.selftest import available
from ssd_edge.engines.selftest.compared import LEAST, agreement, graph_of, require, without_graph
from ssd_edge.engines.selftest.sections import FailedError, NotRunError, Setting
from ssd_edge.errors import SsdEdgeError
from ssd_edge.pixels import Image

MOST = 4
"""Largest batch of the plans."""

_FORMS = {"decode inside": None, "decode after it": "host-launch"}
_FRAMES, _QUICK = 240, 48  # to time


def batches(setting: Setting) -> tuple[str, Mapping[str, Any]]:
    """Compare batches of every size with frames alone, with decode inside the plan and after it; see ``Work``."""
    heads, _ = setting.model()
    available.must_run("tensorrt")
    details: dict[str, Mapping[str, Any]] = {}
    wrong = []
    for name, form in _FORMS.items():
        try:
            options = BuildOptions(decode=form, max_batch=MOST)
            with setting.engine(f"batches-{form or 'default'}", heads, "tensorrt", options) as engine:
                details[name] = _compared(engine, name, setting)
        except NotRunError:
            raise
        except FailedError as error:
            wrong.append(str(error))
            details[name] = error.details
        except SsdEdgeError as error:
            wrong.append(str(error))
            details[name] = {"failed": str(error)}
    if wrong:
        raise FailedError("; ".join(wrong), details)
    times = ", ".join(
        f"{name} {one['milliseconds alone']:.2f} alone and {one['milliseconds in batches']:.2f} in batches of {MOST}"
        for name, one in details.items()
    )
    exact = all(one["equal"] == one["frames"] for one in details.values())
    found = f"frames in batches of up to {MOST} give what they give alone{', to the last bit' if exact else ''}"
    return f"{found}; milliseconds a frame: {times}{without_graph(details)}", details


def _compared(engine: Engine, name: str, setting: Setting) -> Mapping[str, Any]:
    frames = [frame if number % 2 else _smaller(frame) for number, frame in enumerate(setting.frames)]
    with engine.detector() as detector:
        if detector.max_batch != MOST:
            raise FailedError(f"{name}: the detector takes {detector.max_batch} frames at once, not {MOST}")
        alone = _detected(detector, frames, 1)
        wanted, actual = [], []
        for size in range(2, MOST + 1):
            wanted += alone
            actual += _detected(detector, frames, size)
        agreed = agreement(wanted, actual)
        equal = sum(_same(one, other) for one, other in zip(wanted, actual, strict=True))
        number = _QUICK if setting.quick else _FRAMES
        details = {
            **agreed,
            "frames": len(actual),
            "equal": equal,
            "milliseconds alone": _milliseconds(detector, frames, 1, number),
            "milliseconds in batches": _milliseconds(detector, frames, MOST, number),
        }
    require(agreed, LEAST[engine.precision], f"{name}: a batch")
    return {**details, **graph_of(engine)}


def _smaller(frame: Image) -> Image:
    """Halve a frame, so that a batch has frames of several sizes."""
    return np.ascontiguousarray(frame[::2, ::2])


def _run(detector: Detector, frames: Sequence[Image], size: int) -> list[Result]:
    """Detect in batches of this size and a rest, with as many under way as the detector allows."""
    waiting: deque[Callable[[], list[Result]]] = deque()
    results: list[Result] = []
    for first in range(0, len(frames), size):
        if len(waiting) == detector.depth:
            results += waiting.popleft()()
        waiting.append(detector.submit_batch(frames[first : first + size]))
    while waiting:
        results += waiting.popleft()()
    return results


def _detected(detector: Detector, frames: Sequence[Image], size: int) -> list[Detections]:
    return [result.detections.above(0.05) for result in _run(detector, frames, size)]


def _milliseconds(detector: Detector, frames: Sequence[Image], size: int, number: int) -> float:
    """Time a frame takes on average, with the GPU kept busy."""
    many = [frames[place % len(frames)] for place in range(number)]
    _run(detector, many[: 4 * size], size)  # warms up
    began = perf_counter()
    _run(detector, many, size)
    return 1000 * (perf_counter() - began) / number


def _same(one: Detections, other: Detections) -> bool:
    pairs = ((one.boxes, other.boxes), (one.scores, other.scores), (one.labels, other.labels))
    return all(np.array_equal(left, right) for left, right in pairs)
